/* SPDX-License-Identifier: MIT
 *
 * cut_power FILE: stores 1 into the file through a mapping, cuts the power of the guest, and stores 2, which nobody may ever
 * see.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/io.h>
#include <sys/mman.h>
#include <unistd.h>

int main(int count, char **arguments) {
    int file = count == 2 ? open(arguments[1], O_RDWR | O_CREAT, 0600) : -1;
    if (file < 0 || ftruncate(file, 4096) != 0 || fsync(file) != 0) {
        perror("cut_power: file");
        return 1;
    }
    volatile uint32_t *word = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED_VALIDATE | MAP_SYNC, file, 0);
    if (word == MAP_FAILED || iopl(3) != 0) {
        perror("cut_power: mapping or access to ports");
        return 1;
    }
    word[0] = 1;
    outl(1, 0xf4);
    word[0] = 2;
    printf("there is still power\n");
    return 2;
}
