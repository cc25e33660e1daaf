/* SPDX-License-Identifier: MIT
 *
 * numapool/payment.h - a payment message of 128 bytes, written and read where it lies in a slot.
 *
 * Little-endian, no padding, the same bytes in every language and on every machine that numapool runs on:
 *
 *   offset bytes field
 *        0     4 checksum         CRC-32C of bytes 8..127 followed by bytes 4..7
 *        4     4 flags            numapool_payment_flags; 16..31 belong to the application
 *        8     8 payment_id       the sender's number of this payment, never 0
 *       16     8 reference        its number where it came from (a NACHA trace number)
 *       24     8 amount_minor     signed, in minor units of the currency (cents); a payment's amount is never negative
 *       32     8 created_ns       when the sender wrote it, nanoseconds since 1970-01-01T00:00Z, 0 unknown
 *       40     8 due_ns           when it is to be settled, likewise
 *       48     4 batch            the batch that it belongs to, 0 none
 *       52     2 code             what kind of payment, as its scheme numbers them (a NACHA transaction code)
 *       54     1 version          NUMAPOOL_PAYMENT_VERSION
 *       55     1 minor_digits     decimal digits of the minor unit: 2 for USD and EUR, 0 for JPY, 3 for KWD
 *       56     3 currency         ISO 4217 alphabetic code, upper case
 *       59     1 reserved         0
 *       60    34 debit_account    who pays: printable ASCII, left-justified, the rest zeros, no closing zero when full
 *       94    34 credit_account   who is paid, likewise; 34 characters hold every IBAN
 *
 * Checksum and flags share one 8-byte word, which is written by one store. A process may therefore flag a sealed payment
 * (numapool_payment_flag) and be killed at any instruction of it: the next one finds it sealed, with or without the flag.
 *
 * A payment is 8-byte aligned; a slot is 64-byte aligned. Needs nothing of the library: header only, C99, C11, C++11.
 */
#ifndef NUMAPOOL_PAYMENT_H
#define NUMAPOOL_PAYMENT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "numapool/payment.h describes little-endian bytes and this machine is big-endian"
#endif

#if defined(__GNUC__) && defined(__x86_64__)
#define NUMAPOOL_PAYMENT_X86_CRC 1
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define NUMAPOOL_PAYMENT_BYTES         128u
#define NUMAPOOL_PAYMENT_VERSION       1u
#define NUMAPOOL_PAYMENT_ACCOUNT_BYTES 34u
/* 10^15 minor units: ten trillion dollars; what is above it is a damaged field and not a payment. */
#define NUMAPOOL_PAYMENT_AMOUNT_MAX    INT64_C(1000000000000000)

struct numapool_payment {
    uint64_t seal; /* checksum in the low half, flags in the high one */
    uint64_t payment_id;
    uint64_t reference;
    int64_t amount_minor;
    int64_t created_ns;
    int64_t due_ns;
    uint32_t batch;
    uint16_t code;
    uint8_t version;
    uint8_t minor_digits;
    char currency[3];
    uint8_t reserved;
    char debit_account[34];
    char credit_account[34];
};

#if defined(__cplusplus)
#define NUMAPOOL_PAYMENT_ASSERT(name, condition) static_assert(condition, #name)
#elif defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
#define NUMAPOOL_PAYMENT_ASSERT(name, condition) _Static_assert(condition, #name)
#else
#define NUMAPOOL_PAYMENT_ASSERT(name, condition) typedef char numapool_payment_assert_##name[(condition) ? 1 : -1]
#endif
#define NUMAPOOL_PAYMENT_AT(member, offset) \
    NUMAPOOL_PAYMENT_ASSERT(member##_at_##offset, offsetof(struct numapool_payment, member) == offset)

NUMAPOOL_PAYMENT_ASSERT(size, sizeof(struct numapool_payment) == NUMAPOOL_PAYMENT_BYTES);
NUMAPOOL_PAYMENT_AT(seal, 0);
NUMAPOOL_PAYMENT_AT(payment_id, 8);
NUMAPOOL_PAYMENT_AT(reference, 16);
NUMAPOOL_PAYMENT_AT(amount_minor, 24);
NUMAPOOL_PAYMENT_AT(created_ns, 32);
NUMAPOOL_PAYMENT_AT(due_ns, 40);
NUMAPOOL_PAYMENT_AT(batch, 48);
NUMAPOOL_PAYMENT_AT(code, 52);
NUMAPOOL_PAYMENT_AT(version, 54);
NUMAPOOL_PAYMENT_AT(minor_digits, 55);
NUMAPOOL_PAYMENT_AT(currency, 56);
NUMAPOOL_PAYMENT_AT(reserved, 59);
NUMAPOOL_PAYMENT_AT(debit_account, 60);
NUMAPOOL_PAYMENT_AT(credit_account, 94);

enum numapool_payment_flags {
    NUMAPOOL_PAYMENT_COLLECTION = 1,      /* the payee asks for the money (direct debit); else the payer sends it */
    NUMAPOOL_PAYMENT_NOTICE = 2,          /* moves no money by its code: its amount may be 0 */
    NUMAPOOL_PAYMENT_CHECKED = 4,         /* a validator has looked at it */
    NUMAPOOL_PAYMENT_REJECTED = 8,        /* and objects: the application's flags say why */
    NUMAPOOL_PAYMENT_POSSIBLE_REPEAT = 16,/* whoever handled it last may have died over it: look before posting twice */
    NUMAPOOL_PAYMENT_ACCOUNT_CUT = 32     /* an account was longer than its field */
};
#define NUMAPOOL_PAYMENT_FLAGS_KNOWN    UINT32_C(0xffff003f)
#define NUMAPOOL_PAYMENT_FLAG_APPLICATION(n) (UINT32_C(0x10000) << (n)) /* n: 0..15 */

/* What numapool_payment_problems finds: bits, several at once. */
enum numapool_payment_problem {
    NUMAPOOL_PAYMENT_BAD_CHECKSUM = 1,
    NUMAPOOL_PAYMENT_BAD_VERSION = 2,        /* another layout: no other field means anything */
    NUMAPOOL_PAYMENT_BAD_FLAGS = 4,          /* a bit that this version does not define */
    NUMAPOOL_PAYMENT_BAD_ID = 8,             /* payment_id 0 */
    NUMAPOOL_PAYMENT_BAD_AMOUNT = 16,        /* negative, above NUMAPOOL_PAYMENT_AMOUNT_MAX, or 0 without NOTICE */
    NUMAPOOL_PAYMENT_BAD_CURRENCY = 32,      /* not three upper-case letters, or more than 4 minor digits */
    NUMAPOOL_PAYMENT_BAD_DEBIT_ACCOUNT = 64, /* empty, unprintable, or bytes after its end */
    NUMAPOOL_PAYMENT_BAD_CREDIT_ACCOUNT = 128,
    NUMAPOOL_PAYMENT_BAD_TIME = 256,         /* before 1970 */
    NUMAPOOL_PAYMENT_BAD_RESERVED = 512
};

/* ---------------------------------------------------------------- checksum */

/* CRC-32C (Castagnoli): polynomial 0x1edc6f41 reflected, initial value and final exclusive-or 0xffffffff, as in
 * RFC 3720 section 12.1; its test vectors are in appendix B.4 there. The functions carry the running value, which
 * starts as 0xffffffff and is inverted at the end. Both ways give the same number. */
static inline uint32_t numapool_payment_crc32c_portable(uint32_t running, const void *bytes, size_t count)
{
    /* One entry for each value of four bits. */
    static const uint32_t table[16] = {
        0x00000000u, 0x105ec76fu, 0x20bd8edeu, 0x30e349b1u, 0x417b1dbcu, 0x5125dad3u, 0x61c69362u, 0x7198540du,
        0x82f63b78u, 0x92a8fc17u, 0xa24bb5a6u, 0xb21572c9u, 0xc38d26c4u, 0xd3d3e1abu, 0xe330a81au, 0xf36e6f75u
    };
    const unsigned char *next = (const unsigned char *)bytes;
    while (count-- > 0) {
        running ^= *next++;
        running = (running >> 4) ^ table[running & 15u];
        running = (running >> 4) ^ table[running & 15u];
    }
    return running;
}

#ifdef NUMAPOOL_PAYMENT_X86_CRC
__attribute__((target("sse4.2"))) static inline uint32_t
numapool_payment_crc32c_sse42(uint32_t running, const void *bytes, size_t count)
{
    const unsigned char *next = (const unsigned char *)bytes;
    uint64_t wide = running;
    for (; count >= 8; count -= 8, next += 8) {
        uint64_t eight;
        memcpy(&eight, next, 8);
        wide = __builtin_ia32_crc32di(wide, eight);
    }
    running = (uint32_t)wide;
    for (; count > 0; count--)
        running = __builtin_ia32_crc32qi(running, *next++);
    return running;
}
#endif

static inline uint32_t numapool_payment_crc32c(uint32_t running, const void *bytes, size_t count)
{
#ifdef NUMAPOOL_PAYMENT_X86_CRC
    if (__builtin_cpu_supports("sse4.2"))
        return numapool_payment_crc32c_sse42(running, bytes, count);
#endif
    return numapool_payment_crc32c_portable(running, bytes, count);
}

/* The checksum that the payment has to have with these flags. */
static inline uint32_t numapool_payment_checksum_with(const struct numapool_payment *payment, uint32_t flags)
{
    uint32_t running = numapool_payment_crc32c(0xffffffffu, &payment->payment_id, NUMAPOOL_PAYMENT_BYTES - 8);
    return ~numapool_payment_crc32c(running, &flags, sizeof(flags));
}

/* ---------------------------------------------------------------- reading */

static inline uint64_t numapool_payment_seal_word(const struct numapool_payment *payment)
{
#if defined(__GNUC__)
    return __atomic_load_n(&payment->seal, __ATOMIC_RELAXED); /* one load, whole; the channel orders everything else */
#else
    return *(const volatile uint64_t *)&payment->seal;
#endif
}

static inline uint32_t numapool_payment_checksum(const struct numapool_payment *payment)
{
    return (uint32_t)numapool_payment_seal_word(payment);
}

static inline uint32_t numapool_payment_get_flags(const struct numapool_payment *payment)
{
    return (uint32_t)(numapool_payment_seal_word(payment) >> 32);
}

static inline uint64_t numapool_payment_get_id(const struct numapool_payment *payment)
{
    return payment->payment_id;
}

static inline uint64_t numapool_payment_get_reference(const struct numapool_payment *payment)
{
    return payment->reference;
}

static inline int64_t numapool_payment_get_amount_minor(const struct numapool_payment *payment)
{
    return payment->amount_minor;
}

static inline int64_t numapool_payment_get_created_ns(const struct numapool_payment *payment)
{
    return payment->created_ns;
}

static inline int64_t numapool_payment_get_due_ns(const struct numapool_payment *payment)
{
    return payment->due_ns;
}

static inline uint32_t numapool_payment_get_batch(const struct numapool_payment *payment)
{
    return payment->batch;
}

static inline uint16_t numapool_payment_get_code(const struct numapool_payment *payment)
{
    return payment->code;
}

static inline uint8_t numapool_payment_get_minor_digits(const struct numapool_payment *payment)
{
    return payment->minor_digits;
}

/* Three characters, not terminated, where they lie. */
static inline const char *numapool_payment_get_currency(const struct numapool_payment *payment)
{
    return payment->currency;
}

/* The account where it lies, not terminated; *length_bytes of it are used. */
static inline const char *numapool_payment_get_debit_account(const struct numapool_payment *payment,
                                                             size_t *length_bytes)
{
    const void *end = memchr(payment->debit_account, 0, NUMAPOOL_PAYMENT_ACCOUNT_BYTES);
    *length_bytes = end != NULL ? (size_t)((const char *)end - payment->debit_account) : NUMAPOOL_PAYMENT_ACCOUNT_BYTES;
    return payment->debit_account;
}

static inline const char *numapool_payment_get_credit_account(const struct numapool_payment *payment,
                                                              size_t *length_bytes)
{
    const void *end = memchr(payment->credit_account, 0, NUMAPOOL_PAYMENT_ACCOUNT_BYTES);
    *length_bytes = end != NULL ? (size_t)((const char *)end - payment->credit_account) : NUMAPOOL_PAYMENT_ACCOUNT_BYTES;
    return payment->credit_account;
}

/* ---------------------------------------------------------------- writing */

/* Makes an empty payment of this version out of whatever the slot held. Fill it, then numapool_payment_seal. */
static inline void numapool_payment_begin(struct numapool_payment *payment)
{
    memset(payment, 0, sizeof(*payment));
    payment->version = NUMAPOOL_PAYMENT_VERSION;
}

static inline void numapool_payment_set_id(struct numapool_payment *payment, uint64_t payment_id)
{
    payment->payment_id = payment_id;
}

static inline void numapool_payment_set_reference(struct numapool_payment *payment, uint64_t reference)
{
    payment->reference = reference;
}

/* An amount with its currency: three characters, and how many decimal digits its minor unit is. */
static inline void numapool_payment_set_amount(struct numapool_payment *payment, int64_t amount_minor,
                                               const char *currency, unsigned minor_digits)
{
    payment->amount_minor = amount_minor;
    memcpy(payment->currency, currency, sizeof(payment->currency));
    payment->minor_digits = (uint8_t)minor_digits;
}

static inline void numapool_payment_set_times(struct numapool_payment *payment, int64_t created_ns, int64_t due_ns)
{
    payment->created_ns = created_ns;
    payment->due_ns = due_ns;
}

static inline void numapool_payment_set_batch(struct numapool_payment *payment, uint32_t batch)
{
    payment->batch = batch;
}

static inline void numapool_payment_set_code(struct numapool_payment *payment, uint16_t code)
{
    payment->code = code;
}

/* Writes an account into its field. 0; 1 when it was longer than the field and has been cut. */
static inline int numapool_payment_put_account(char *field, const char *account, size_t length_bytes)
{
    size_t used = length_bytes < NUMAPOOL_PAYMENT_ACCOUNT_BYTES ? length_bytes : NUMAPOOL_PAYMENT_ACCOUNT_BYTES;
    memcpy(field, account, used);
    memset(field + used, 0, NUMAPOOL_PAYMENT_ACCOUNT_BYTES - used);
    return used < length_bytes;
}

static inline int numapool_payment_set_debit_account(struct numapool_payment *payment, const char *account,
                                                     size_t length_bytes)
{
    return numapool_payment_put_account(payment->debit_account, account, length_bytes);
}

static inline int numapool_payment_set_credit_account(struct numapool_payment *payment, const char *account,
                                                      size_t length_bytes)
{
    return numapool_payment_put_account(payment->credit_account, account, length_bytes);
}

/* Finishes the payment: its flags, and the checksum over all of it, in one store. */
static inline void numapool_payment_seal(struct numapool_payment *payment, uint32_t flags)
{
    uint64_t word = (uint64_t)flags << 32 | numapool_payment_checksum_with(payment, flags);
#if defined(__GNUC__)
    __atomic_store_n(&payment->seal, word, __ATOMIC_RELAXED); /* one store, whole; the channel publishes it */
#else
    *(volatile uint64_t *)&payment->seal = word;
#endif
}

/* Adds flags to a payment that was sound when it was checked. A death leaves it sealed, with or without them. Does not
 * heal a damaged one: whoever finds BAD_CHECKSUM must not call this, or the damage would look sound. */
static inline void numapool_payment_flag(struct numapool_payment *payment, uint32_t flags)
{
    numapool_payment_seal(payment, numapool_payment_get_flags(payment) | flags);
}

/* ---------------------------------------------------------------- checking */

static inline int numapool_payment_account_is_sound(const char *field)
{
    size_t i = 0;
    while (i < NUMAPOOL_PAYMENT_ACCOUNT_BYTES && field[i] != 0) {
        if (field[i] < 0x20 || field[i] > 0x7e)
            return 0;
        i++;
    }
    if (i == 0)
        return 0;
    while (i < NUMAPOOL_PAYMENT_ACCOUNT_BYTES)
        if (field[i++] != 0)
            return 0;
    return 1;
}

static inline int numapool_payment_currency_is_sound(const struct numapool_payment *payment)
{
    size_t i;
    for (i = 0; i < sizeof(payment->currency); i++)
        if (payment->currency[i] < 'A' || payment->currency[i] > 'Z')
            return 0;
    return payment->minor_digits <= 4;
}

/* Checks the payment where it lies, without a copy. 0, or bits of numapool_payment_problem. What the code means, and
 * whether the accounts exist, is the application's to know. */
static inline uint32_t numapool_payment_problems(const struct numapool_payment *payment)
{
    const uint64_t seal = numapool_payment_seal_word(payment);
    const uint32_t flags = (uint32_t)(seal >> 32);
    const int64_t amount_minor = payment->amount_minor;
    uint32_t problems = 0;
    if ((uint32_t)seal != numapool_payment_checksum_with(payment, flags))
        problems |= NUMAPOOL_PAYMENT_BAD_CHECKSUM;
    if (payment->version != NUMAPOOL_PAYMENT_VERSION)
        return problems | NUMAPOOL_PAYMENT_BAD_VERSION;
    if ((flags & ~NUMAPOOL_PAYMENT_FLAGS_KNOWN) != 0)
        problems |= NUMAPOOL_PAYMENT_BAD_FLAGS;
    if (payment->payment_id == 0)
        problems |= NUMAPOOL_PAYMENT_BAD_ID;
    if (amount_minor < 0 || amount_minor > NUMAPOOL_PAYMENT_AMOUNT_MAX ||
        (amount_minor == 0 && (flags & NUMAPOOL_PAYMENT_NOTICE) == 0))
        problems |= NUMAPOOL_PAYMENT_BAD_AMOUNT;
    if (!numapool_payment_currency_is_sound(payment))
        problems |= NUMAPOOL_PAYMENT_BAD_CURRENCY;
    if (!numapool_payment_account_is_sound(payment->debit_account))
        problems |= NUMAPOOL_PAYMENT_BAD_DEBIT_ACCOUNT;
    if (!numapool_payment_account_is_sound(payment->credit_account))
        problems |= NUMAPOOL_PAYMENT_BAD_CREDIT_ACCOUNT;
    if (payment->created_ns < 0 || payment->due_ns < 0)
        problems |= NUMAPOOL_PAYMENT_BAD_TIME;
    if (payment->reserved != 0)
        problems |= NUMAPOOL_PAYMENT_BAD_RESERVED;
    return problems;
}

#ifdef __cplusplus
}
#endif
#endif
