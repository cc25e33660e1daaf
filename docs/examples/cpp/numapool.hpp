// SPDX-License-Identifier: MIT
//
// numapool for C++11: what is opened is closed by its destructor, what fails is thrown. No more than that: copy it into a program
// and change it. Warm get and put stay the inline calls of numapool.h.
#ifndef EXAMPLE_NUMAPOOL_HPP
#define EXAMPLE_NUMAPOOL_HPP

#include <cerrno>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>

#include <numapool.h>

namespace numapool_example {

// A negative result, with the sentence that says what failed, on what, and what to do about it.
class error : public std::runtime_error {
public:
    explicit error(int code) : std::runtime_error(numapool_errormsg()), code_(code) {}
    int code() const { return code_; }

private:
    int code_;
};

inline int check(int result)
{
    if (result < 0)
        throw error(result);
    return result;
}

// Owns a handle of the library that close(handle) gives back.
template <typename Handle, int (*Close)(Handle *)>
class owner {
public:
    owner() : handle_(nullptr) {}
    owner(const owner &) = delete;
    owner &operator=(const owner &) = delete;
    owner(owner &&other) noexcept : handle_(other.handle_) { other.handle_ = nullptr; }
    owner &operator=(owner &&other) noexcept
    {
        std::swap(handle_, other.handle_);
        return *this;
    }
    ~owner()
    {
        if (handle_)
            Close(handle_);
    }
    Handle *get() const { return handle_; }

protected:
    Handle *handle_;
};

class client : public owner<numapool_client, numapool_disconnect> {
public:
    explicit client(const char *socket_path = nullptr) { check(numapool_connect(&handle_, socket_path)); }
};

class pool : public owner<numapool_pool, numapool_close> {
public:
    // Of the daemon.
    pool(const client &from, const std::string &name, uint64_t flags = 0)
    {
        check(numapool_open(from.get(), name.c_str(), flags, &handle_));
    }
    // In this process alone.
    explicit pool(const numapool_options &options) { check(numapool_create(&handle_, &options)); }
    uint64_t slot_bytes() const { return numapool_slot_bytes(handle_); }
};

class magazine : public owner<numapool_magazine, numapool_magazine_close> {
public:
    explicit magazine(const pool &of, int node = NUMAPOOL_OWN_NODE, unsigned capacity = 0)
    {
        check(numapool_magazine_open(of.get(), node, capacity, &handle_));
    }
    void *take() { return numapool_get(handle_); }
    void give(void *slot) { check(numapool_put(handle_, slot)); }
};

inline int close_sender(numapool_sender *sender)
{
    return numapool_sender_close(sender, INT64_C(1000000000)); // waits a second for what is not released yet
}

// A slot that was loaned and goes back unless it is sent.
template <typename Payload>
class loan;

class sender : public owner<numapool_sender, close_sender> {
public:
    sender(const pool &of, const std::string &channel, const numapool_channel_options *options = nullptr)
    {
        check(numapool_sender_open(of.get(), channel.c_str(), options, &handle_));
    }
    template <typename Payload>
    loan<Payload> borrow(int64_t timeout_ns = NUMAPOOL_FOREVER);
};

template <typename Payload>
class loan {
public:
    loan(numapool_sender *from, void *slot) : sender_(from), payload_(new (slot) Payload()) {}
    loan(const loan &) = delete;
    loan &operator=(const loan &) = delete;
    loan(loan &&other) noexcept : sender_(other.sender_), payload_(other.payload_) { other.payload_ = nullptr; }
    ~loan()
    {
        if (payload_)
            numapool_unloan(sender_, payload_);
    }
    Payload *operator->() { return payload_; }
    void send(uint64_t id, uint16_t type = 0, int64_t timeout_ns = NUMAPOOL_FOREVER)
    {
        numapool_msg message = NUMAPOOL_MSG_INIT;
        message.data = payload_;
        message.length = sizeof(Payload);
        message.id = id;
        message.type = type;
        check(numapool_send(sender_, &message, timeout_ns));
        payload_ = nullptr; // it is its receiver's
    }

private:
    numapool_sender *sender_;
    Payload *payload_;
};

template <typename Payload>
loan<Payload> sender::borrow(int64_t timeout_ns)
{
    static_assert(alignof(Payload) <= 64, "slots are 64-byte aligned");
    void *slot = nullptr;
    check(numapool_loan_wait(handle_, &slot, timeout_ns));
    return loan<Payload>(handle_, slot);
}

class receiver : public owner<numapool_receiver, numapool_receiver_close> {
public:
    receiver(const pool &of, const std::string &channel, const numapool_channel_options *options = nullptr)
    {
        check(numapool_receiver_open(of.get(), channel.c_str(), options, &handle_));
    }
    // Calls visit(payload, message) where the payload lies, for each message that comes until none came for timeout_ns or visit returns
    // false; each is released when visit has returned, or thrown.
    template <typename Payload, typename Visit>
    unsigned long each(int64_t timeout_ns, Visit visit)
    {
        struct releasing {
            numapool_receiver *receiver;
            const numapool_msg *message;
            ~releasing() { numapool_release(receiver, message, 1); }
        };
        unsigned long count = 0;
        for (bool more = true; more; count++) {
            numapool_msg message;
            int result = numapool_receive(handle_, &message, 1, timeout_ns);
            if (result == -ETIMEDOUT)
                break;
            check(result);
            releasing at_the_end = { handle_, &message };
            if (message.length != sizeof(Payload))
                throw std::runtime_error("a message of another kind came");
            more = visit(*static_cast<const Payload *>(message.data), message);
        }
        return count;
    }
};

} // namespace numapool_example

#endif
