/* The load of the benchmarks: what callers of a proxy do. Every transfer is verified; a difference ends it.
 *
 *   load PORT get RATE SECONDS CONNECTIONS           small GETs at a fixed rate, latency from when each was due
 *   load PORT download BYTES length|chunked          one download
 *   load PORT upload BYTES length|chunked            one upload
 *   load PORT echo CONNECTIONS SECONDS MESSAGES      WebSockets that send 64 bytes and wait for them; after so many
 *                                                    messages (0: never) each is closed and another one opened
 *   load PORT source FRAME_BYTES SECONDS             frames from the notebook, as fast as they come
 *   load PORT sink FRAME_BYTES SECONDS               frames to the notebook, as fast as they go
 *   load PORT idle COUNT                             opens WebSockets, echoes once on each, holds them
 *   load PORT stall                                  a download and a flood that are not read, an upload and a flood
 *                                                    that the origin does not read
 *
 * Prints one JSON object; `idle` and `stall` print it when all is open, and then go on until standard input ends.
 */
#define _GNU_SOURCE
#include "wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEAD_MAX 16384
#define READ_SIZE ((size_t)256 << 10)
#define MESSAGE_SIZE 64
#define SILENCE_SECONDS 30

static const unsigned char mask[4] = {0x5a, 0xc3, 0x0f, 0x99};
static unsigned char input[READ_SIZE];
static int port;

static double seconds_since(uint64_t start)
{
    return (double)(now_ns() - start) / 1e9;
}

static int dial(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval silence = {.tv_sec = SILENCE_SECONDS};
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        die("connect: %m");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof silence);
    return fd;
}

static void send_all(int fd, const void *data, size_t size)
{
    const unsigned char *bytes = data;
    while (size > 0) {
        ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL);
        if (sent < 0)
            die("send: %m");
        bytes += sent;
        size -= (size_t)sent;
    }
}

static void request(int fd, const char *method, const char *path, const char *fields)
{
    char head[1024];
    int size = snprintf(head, sizeof head, "%s %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n%s\r\n", method, path, port, fields);
    send_all(fd, head, (size_t)size);
}

static size_t receive(int fd, void *data, size_t size)
{
    ssize_t got = recv(fd, data, size, 0);
    if (got <= 0)
        die(got == 0 ? "the connection was closed too early" : "receive: %m");
    return (size_t)got;
}

/* Reads a response's head into `head` (HEAD_MAX + 1 bytes); what came behind it stays in `input`. */
static size_t response(int fd, char *head, const char *wanted_status)
{
    size_t size = 0;
    char *end = NULL;
    while (end == NULL) {
        if (size == HEAD_MAX)
            die("a response head without end");
        size += receive(fd, head + size, HEAD_MAX - size);
        head[size] = '\0';
        end = strstr(head, "\r\n\r\n");
    }
    size_t rest = size - (size_t)(end + 4 - head);
    memcpy(input, end + 4, rest);
    end[2] = '\0';
    if (strncmp(head + 9, wanted_status, 3) != 0)
        die("answered %.*s", (int)strcspn(head, "\r\n"), head);
    return rest;
}

/* -- small GETs at a fixed rate ---------------------------------------------------------------------------------- */

struct getter {
    int fd;
    bool busy;
    uint64_t due;
    char buffer[HEAD_MAX + 1];
    size_t size;
};

static bool small_response_complete(struct getter *g)
{
    g->buffer[g->size] = '\0';
    const char *end = strstr(g->buffer, "\r\n\r\n");
    if (end == NULL)
        return false;
    const char *body = end + 4;
    size_t body_size = g->size - (size_t)(body - g->buffer);
    if (strncmp(g->buffer + 9, "200", 3) != 0 || field_number(g->buffer, "Content-Length", 10, 0) != strlen(SMALL_BODY))
        die("answered %.*s", (int)strcspn(g->buffer, "\r\n"), g->buffer);
    if (body_size < strlen(SMALL_BODY))
        return false;
    if (strcmp(body, SMALL_BODY) != 0)
        die("a small body differs");
    return true;
}

static int by_size(const void *one, const void *other)
{
    uint64_t a = *(const uint64_t *)one, b = *(const uint64_t *)other;
    return (a > b) - (a < b);
}

static void get(double rate, double seconds, size_t connections)
{
    struct getter *getters = calloc(connections, sizeof *getters);
    struct pollfd *polls = calloc(connections, sizeof *polls);
    size_t total = (size_t)(rate * seconds), sent = 0, done = 0;
    uint64_t *latencies = calloc(total + 1, sizeof *latencies);
    if (getters == NULL || polls == NULL || latencies == NULL || total == 0 || connections == 0)
        die("get: nothing to do, or out of memory");
    for (size_t i = 0; i < connections; i++) {
        getters[i].fd = dial();
        polls[i] = (struct pollfd){.fd = getters[i].fd, .events = POLLIN};
    }
    uint64_t start = now_ns(), interval = (uint64_t)(1e9 / rate);
    while (done < total) {
        uint64_t now = now_ns();
        for (size_t i = 0; i < connections && sent < total && start + sent * interval <= now; i++) {
            struct getter *g = &getters[i];
            if (g->busy)
                continue;
            g->busy = true;
            g->due = start + sent++ * interval;
            g->size = 0;
            request(g->fd, "GET", SMALL_PATH, "");
        }
        uint64_t next = sent < total ? start + sent * interval : now + SILENCE_SECONDS * 1000000000ull;
        now = now_ns();
        uint64_t wait = next > now ? next - now : 0;
        struct timespec timeout = {.tv_sec = (time_t)(wait / 1000000000u), .tv_nsec = (long)(wait % 1000000000u)};
        int ready = ppoll(polls, connections, &timeout, NULL);
        if (ready == 0 && sent == total)
            die("no answer for %d s", SILENCE_SECONDS);
        for (size_t i = 0; ready > 0 && i < connections; i++) {
            struct getter *g = &getters[i];
            if (polls[i].revents == 0)
                continue;
            g->size += receive(g->fd, g->buffer + g->size, HEAD_MAX - g->size);
            if (small_response_complete(g)) {
                latencies[done++] = now_ns() - g->due;
                g->busy = false;
            }
        }
    }
    qsort(latencies, done, sizeof *latencies, by_size);
    printf("{\"requests\": %zu, \"seconds\": %.6f, \"p50_us\": %.2f, \"p99_us\": %.2f}\n", done, seconds_since(start),
           (double)latencies[done / 2] / 1e3, (double)latencies[done * 99 / 100] / 1e3);
}

/* -- bulk -------------------------------------------------------------------------------------------------------- */

static void download(uint64_t size, bool chunked)
{
    char path[64], head[HEAD_MAX + 1];
    snprintf(path, sizeof path, "/download%s/%" PRIu64, chunked ? "-chunked" : "", size);
    int fd = dial();
    uint64_t start = now_ns();
    request(fd, "GET", path, "");
    size_t got = response(fd, head, "200");
    bool is_chunked = field_is(head, "Transfer-Encoding", "chunked");
    struct chunks chunks = {0};
    struct checksum sum;
    checksum_start(&sum);
    while (sum.total < size || (is_chunked && chunks.state != CHUNKS_DONE)) {
        if (got == 0)
            got = receive(fd, input, sizeof input);
        for (size_t at = 0; at < got;) {
            const unsigned char *piece = input + at;
            size_t piece_size = got - at;
            at += is_chunked ? chunks_read(&chunks, input + at, got - at, &piece, &piece_size) : piece_size;
            checksum_add(&sum, piece, piece_size);
            if (chunks.state >= CHUNKS_DONE && at < got)
                die("the chunked coding is broken");
        }
        got = 0;
    }
    double seconds = seconds_since(start);
    if (sum.total != size || checksum_end(&sum) != field_number(head, "X-Checksum", 16, 0))
        die("a download differs");
    printf("{\"bytes\": %" PRIu64 ", \"seconds\": %.6f, \"chunked\": %s}\n", size, seconds, is_chunked ? "true" : "false");
}

static void send_payload(int fd, uint64_t at, size_t size)
{
    while (size > 0) {
        off_t offset = (off_t)(at % PAYLOAD_SIZE);
        size_t part = PAYLOAD_SIZE - (size_t)offset;
        ssize_t sent = sendfile(fd, payload_file(), &offset, part < size ? part : size);
        if (sent <= 0)
            die("upload: %m");
        at += (uint64_t)sent;
        size -= (size_t)sent;
    }
}

static void send_chunk(int fd, uint64_t at, size_t size)
{
    char line[32];
    int length = snprintf(line, sizeof line, "%s%zx\r\n%s", at > 0 ? "\r\n" : "", size, size == 0 ? "\r\n" : "");
    if (send(fd, line, (size_t)length, MSG_NOSIGNAL | (size > 0 ? MSG_MORE : 0)) != length)
        die("upload: %m");
    send_payload(fd, at, size);
}

static void upload(uint64_t size, bool chunked)
{
    char fields[128], framing[64] = "Transfer-Encoding: chunked", head[HEAD_MAX + 1];
    if (!chunked)
        snprintf(framing, sizeof framing, "Content-Length: %" PRIu64, size);
    snprintf(fields, sizeof fields, "%s\r\nX-Checksum: %016" PRIx64 "\r\n", framing, payload_checksum(size));
    int fd = dial();
    uint64_t start = now_ns();
    request(fd, "POST", "/upload", fields);
    for (uint64_t at = 0; at < size;) {
        size_t part = chunked ? CHUNK_SIZE : PAYLOAD_SIZE;
        if (part > size - at)
            part = (size_t)(size - at);
        if (chunked)
            send_chunk(fd, at, part);
        else
            send_payload(fd, at, part);
        at += part;
    }
    if (chunked)
        send_chunk(fd, size, 0);
    response(fd, head, "200"); /* 409 where the checksum differs */
    printf("{\"bytes\": %" PRIu64 ", \"seconds\": %.6f}\n", size, seconds_since(start));
}

/* -- WebSockets: messages ------------------------------------------------------------------------------------------ */

static void handshake(int fd, const char *path)
{
    request(fd, "GET", path,
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n");
}

struct talker {
    int fd;
    bool open;
    char head[HEAD_MAX + 1];
    size_t head_size;
    struct frames frames;
    uint64_t message[MESSAGE_SIZE / 8];
    unsigned char echo[MESSAGE_SIZE];
    size_t echo_size;
    unsigned messages;
};

static void send_frame(int fd, enum opcode opcode, const void *data, size_t size)
{
    unsigned char frame[FRAME_HEAD_MAX + MESSAGE_SIZE];
    size_t head = frame_head(frame, 0x80u | opcode, size, mask);
    memcpy(frame + head, data, size);
    mask_bytes(frame + head, size, mask, 0);
    send_all(fd, frame, head + size);
}

static void talk(struct talker *t)
{
    static uint64_t number;
    for (size_t i = 0; i < MESSAGE_SIZE / 8; i++)
        t->message[i] = ++number * 0x9E3779B185EBCA87u;
    t->echo_size = 0;
    send_frame(t->fd, BINARY, t->message, MESSAGE_SIZE);
}

static void talker_open(struct talker *t, int poller)
{
    *t = (struct talker){.fd = dial()};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = t};
    epoll_ctl(poller, EPOLL_CTL_ADD, t->fd, &event);
    handshake(t->fd, "/ws/echo");
}

static void talker_read_head(struct talker *t)
{
    t->head_size += receive(t->fd, t->head + t->head_size, HEAD_MAX - t->head_size);
    t->head[t->head_size] = '\0';
    char *end = strstr(t->head, "\r\n\r\n");
    if (end == NULL)
        return;
    if (strncmp(t->head + 9, "101", 3) != 0 || end[4] != '\0')
        die("answered %.*s", (int)strcspn(t->head, "\r\n"), t->head);
    t->open = true;
    talk(t);
}

enum heard { NOTHING, ECHOED, CLOSED };

static enum heard talker_read(struct talker *t)
{
    enum heard heard = NOTHING;
    size_t got = receive(t->fd, input, sizeof input);
    for (size_t at = 0; at < got;) {
        struct piece piece;
        bool any;
        at += frames_read(&t->frames, input + at, got - at, &piece, &any);
        if (!any)
            continue;
        unsigned opcode = piece.first_byte & 0x0f;
        if (opcode == CLOSE)
            heard = CLOSED;
        if (opcode >= CLOSE)
            continue;
        if (t->echo_size + piece.size > MESSAGE_SIZE)
            die("an echo is too long");
        memcpy(t->echo + t->echo_size, piece.data, piece.size);
        t->echo_size += piece.size;
        if (piece.ends) {
            if (t->echo_size != MESSAGE_SIZE || memcmp(t->echo, t->message, MESSAGE_SIZE) != 0)
                die("an echo differs");
            t->messages++;
            heard = ECHOED;
        }
    }
    return heard;
}

static const unsigned char normal_closure[2] = {0x03, 0xe8};

static void echo(size_t connections, double seconds, unsigned messages)
{
    int poller = epoll_create1(EPOLL_CLOEXEC);
    struct talker *talkers = calloc(connections, sizeof *talkers);
    if (talkers == NULL)
        die("out of memory");
    uint64_t start = now_ns(), stop = start + (uint64_t)(seconds * 1e9), echoes = 0, closed = 0;
    for (size_t i = 0; i < connections; i++)
        talker_open(&talkers[i], poller);
    while (now_ns() < stop) {
        struct epoll_event ready[64];
        int count = epoll_wait(poller, ready, 64, SILENCE_SECONDS * 1000);
        if (count == 0)
            die("no echo for %d s", SILENCE_SECONDS);
        for (int i = 0; i < count; i++) {
            struct talker *t = ready[i].data.ptr;
            if (!t->open) {
                talker_read_head(t);
                continue;
            }
            enum heard heard = talker_read(t);
            if (heard == CLOSED) {
                closed++;
                close(t->fd);
                talker_open(t, poller);
            } else if (heard == ECHOED) {
                echoes++;
                if (messages > 0 && t->messages == messages)
                    send_frame(t->fd, CLOSE, normal_closure, sizeof normal_closure);
                else
                    talk(t);
            }
        }
    }
    printf("{\"echoes\": %" PRIu64 ", \"closed\": %" PRIu64 ", \"seconds\": %.6f}\n", echoes, closed, seconds_since(start));
}

/* -- WebSockets: floods ---------------------------------------------------------------------------------------------- */

static int open_websocket(const char *path)
{
    char head[HEAD_MAX + 1];
    int fd = dial();
    handshake(fd, path);
    /* Byte by byte, for a flood may follow at once. */
    for (size_t size = 0; size < HEAD_MAX; size++) {
        receive(fd, head + size, 1);
        head[size + 1] = '\0';
        if (size >= 3 && memcmp(head + size - 3, "\r\n\r\n", 4) == 0) {
            if (strncmp(head + 9, "101", 3) != 0)
                die("answered %.*s", (int)strcspn(head, "\r\n"), head);
            return fd;
        }
    }
    die("a response head without end");
}

/* Receives until a text frame has ended, which is copied to `text` (SUMMARY_MAX + 1 bytes). */
static uint64_t receive_until_text(int fd, struct checksum *sum, char *text)
{
    struct frames frames = {0};
    uint64_t count = 0;
    size_t text_size = 0;
    checksum_start(sum);
    for (;;) {
        size_t got = receive(fd, input, sizeof input);
        for (size_t at = 0; at < got;) {
            struct piece piece;
            bool any;
            at += frames_read(&frames, input + at, got - at, &piece, &any);
            unsigned opcode = any ? piece.first_byte & 0x0f : PING;
            if (opcode == CLOSE)
                die("closed in the middle of a flood");
            if (opcode == TEXT) {
                if (text_size + piece.size > SUMMARY_MAX)
                    die("a summary is too long");
                memcpy(text + text_size, piece.data, piece.size);
                text_size += piece.size;
                text[text_size] = '\0';
                if (piece.ends)
                    return count;
            } else if (opcode == BINARY) {
                checksum_add(sum, piece.data, piece.size);
                count += piece.ends;
            }
        }
    }
}

static void print_flood(uint64_t count, size_t frame_size, uint64_t start)
{
    printf("{\"frames\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"seconds\": %.6f}\n", count, count * frame_size,
           seconds_since(start));
}

static void source(size_t frame_size, double seconds)
{
    char path[64], wanted[SUMMARY_MAX + 1], text[SUMMARY_MAX + 1];
    snprintf(path, sizeof path, "/ws/source/%zu/%.0f", frame_size, seconds * 1e3);
    int fd = open_websocket(path);
    struct checksum sum;
    uint64_t start = now_ns(), count = receive_until_text(fd, &sum, text);
    wanted[summary_write(wanted, count, checksum_end(&sum))] = '\0';
    if (strcmp(wanted, text) != 0)
        die("a flood differs: received %s, sent %s", wanted, text);
    print_flood(count, frame_size, start);
}

static void sink(size_t frame_size, double seconds)
{
    char summary[SUMMARY_MAX], verdict[SUMMARY_MAX + 1];
    struct flood flood;
    struct checksum sum, ignored;
    flood_make(&flood, frame_size, mask);
    int fd = open_websocket("/ws/sink");
    uint64_t start = now_ns(), stop = start + (uint64_t)(seconds * 1e9), count = 0;
    checksum_start(&sum);
    do {
        send_all(fd, flood.wire, flood.wire_size);
        checksum_add(&sum, payload(), flood.payload_size);
        count += flood.frames;
    } while (now_ns() < stop);
    send_frame(fd, TEXT, summary, summary_write(summary, count, checksum_end(&sum)));
    receive_until_text(fd, &ignored, verdict);
    if (strcmp(verdict, "same") != 0)
        die("a flood differs");
    print_flood(count, frame_size, start);
}

/* -- what is held ---------------------------------------------------------------------------------------------------- */

static void until_input_ends(void)
{
    char byte;
    fflush(stdout);
    while (read(STDIN_FILENO, &byte, 1) > 0)
        ;
}

static void idle(size_t count)
{
    struct talker talker;
    for (size_t i = 0; i < count; i++) {
        talker = (struct talker){.fd = dial()};
        handshake(talker.fd, "/ws/echo");
        while (!talker.open)
            talker_read_head(&talker);
        while (talker_read(&talker) != ECHOED)
            ;
    }
    printf("{\"open\": %zu}\n", count);
    until_input_ends();
}

/* Writes what fits and leaves the rest for `push_stalled`. */
struct stalled {
    int fd;
    const unsigned char *data;
    size_t size, at;
};

static void push_stalled(struct stalled *s)
{
    ssize_t sent;
    while ((sent = send(s->fd, s->data + s->at, s->size - s->at, MSG_NOSIGNAL | MSG_DONTWAIT)) > 0)
        s->at = (s->at + (size_t)sent) % s->size;
    if (sent < 0 && errno != EAGAIN)
        die("a stalled writer was cut off: %m");
}

static void stall(void)
{
    struct flood flood;
    flood_make(&flood, 65536, mask);
    request(dial(), "GET", "/download/1073741824", "");
    open_websocket("/ws/source/65536/3600000");
    struct stalled writers[2] = {{dial(), payload(), PAYLOAD_SIZE, 0},
                                 {open_websocket("/ws/stall"), flood.wire, flood.wire_size, 0}};
    request(writers[0].fd, "POST", "/stall", "Content-Length: 1073741824\r\n");
    printf("{\"stalled\": 4}\n");
    fflush(stdout);
    struct pollfd polls[3] = {{.fd = STDIN_FILENO, .events = POLLIN},
                              {.fd = writers[0].fd, .events = POLLOUT},
                              {.fd = writers[1].fd, .events = POLLOUT}};
    while (poll(polls, 3, -1) > 0 && polls[0].revents == 0) {
        push_stalled(&writers[0]);
        push_stalled(&writers[1]);
    }
}

/* -- the command line -------------------------------------------------------------------------------------------------- */

int main(int count, char **words)
{
    signal(SIGPIPE, SIG_IGN);
    const char *command = count > 2 ? words[2] : "";
    double number[3] = {0};
    for (int i = 3; i < count && i < 6; i++)
        number[i - 3] = strtod(words[i], NULL);
    bool chunked = count > 4 && strcmp(words[4], "chunked") == 0;
    port = count > 1 ? atoi(words[1]) : 0;
    if (strcmp(command, "get") == 0)
        get(number[0], number[1], (size_t)number[2]);
    else if (strcmp(command, "download") == 0)
        download((uint64_t)number[0], chunked);
    else if (strcmp(command, "upload") == 0)
        upload((uint64_t)number[0], chunked);
    else if (strcmp(command, "echo") == 0)
        echo((size_t)number[0], number[1], (unsigned)number[2]);
    else if (strcmp(command, "source") == 0)
        source((size_t)number[0], number[1]);
    else if (strcmp(command, "sink") == 0)
        sink((size_t)number[0], number[1]);
    else if (strcmp(command, "idle") == 0)
        idle((size_t)number[0]);
    else if (strcmp(command, "stall") == 0)
        stall();
    else
        die("usage: load PORT get|download|upload|echo|source|sink|idle|stall ...");
    return 0;
}
