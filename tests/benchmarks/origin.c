/* The origin of the benchmarks: what stands behind every proxy, as a notebook's Jupyter server would.
 *
 * One thread, epoll. It also plays SageMaker for nbgate: POST / answers CreatePresignedNotebookInstanceUrl, and
 * /?authToken= exchanges the URL for a cookie.
 *
 *   origin           listens on a free port of 127.0.0.1, prints it, serves until it is ended
 *
 *   GET  /download/BYTES, /download-chunked/BYTES     the payload, its checksum in X-Checksum
 *   POST /upload                                      200 if the body has the checksum that X-Checksum names
 *   POST /stall, GET /ws/stall                        reads nothing after the head
 *   GET  /ws/echo                                     WebSocket: frames come back
 *   GET  /ws/sink                                     WebSocket: counts, and judges the summary that ends a flood
 *   GET  /ws/source/FRAME_BYTES/MILLISECONDS          WebSocket: floods, then sends the summary
 *   GET  anything else                                a small JSON
 */
#define _GNU_SOURCE
#include "wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEAD_MAX 8192
#define OUT_MAX 1024
#define READ_SIZE ((size_t)256 << 10)

enum state { HEAD, BODY, CHUNKED_BODY, ECHO, SINK, DEAF };

struct connection {
    int fd;
    enum state state;
    uint32_t events;
    bool close_after;

    char head[HEAD_MAX + 1];
    size_t head_size;

    uint64_t body_left, body_size, wanted_sum;
    struct chunks chunks;
    struct checksum sum;

    unsigned char *out; /* what has to be sent before anything else; grows only for echoes that nobody reads */
    size_t out_at, out_size, out_room;

    bool downloading, chunked; /* a response body: `chunk_left` of `download_left` are in the chunk under way */
    uint64_t download_left, download_at, chunk_left;

    struct frames frames;
    uint64_t frame_count;
    char summary[SUMMARY_MAX];
    size_t summary_size;

    struct flood flood;
    size_t flood_at;
    uint64_t flood_until;
};

static int poller, port;
static unsigned char input[READ_SIZE];
static unsigned char echoes[READ_SIZE * 2];

static void finish(struct connection *c)
{
    close(c->fd);
    free(c->out);
    free(c->flood.wire);
    free(c);
}

static void put(struct connection *c, const void *data, size_t size)
{
    if (c->out_at == c->out_size)
        c->out_at = c->out_size = 0;
    if (c->out_size + size > c->out_room) {
        c->out_room = c->out_size + size > OUT_MAX ? c->out_size + size : OUT_MAX;
        c->out = realloc(c->out, c->out_room);
        if (c->out == NULL)
            die("out of memory");
    }
    memcpy(c->out + c->out_size, data, size);
    c->out_size += size;
}

static void put_response(struct connection *c, const char *status, const char *fields, const char *body)
{
    char response[OUT_MAX];
    int size = snprintf(response, sizeof response,
                        "HTTP/1.1 %s\r\nServer: TornadoServer/6.5\r\nContent-Type: application/json\r\n"
                        "Date: Mon, 01 Jan 2024 00:00:00 GMT\r\n%sContent-Length: %zu\r\n\r\n%s",
                        status, fields, strlen(body), body);
    put(c, response, (size_t)size);
}

/* -- sending: false once the connection has failed ---------------------------------------------------------------- */

/* 1: all of it went out; 0: the socket is full; -1: failed. */
static int flush_out(struct connection *c, bool more)
{
    while (c->out_at < c->out_size) {
        ssize_t sent =
            send(c->fd, c->out + c->out_at, c->out_size - c->out_at, MSG_NOSIGNAL | (more ? MSG_MORE : 0));
        if (sent < 0)
            return errno == EAGAIN ? 0 : -1;
        c->out_at += (size_t)sent;
    }
    return 1;
}

static int send_download(struct connection *c)
{
    while (c->downloading) {
        int flushed = flush_out(c, c->download_left > 0);
        if (flushed < 1)
            return flushed;
        if (c->chunk_left > 0) {
            off_t offset = (off_t)(c->download_at % PAYLOAD_SIZE);
            size_t size = PAYLOAD_SIZE - (size_t)offset;
            if (size > c->chunk_left)
                size = (size_t)c->chunk_left;
            ssize_t sent = sendfile(c->fd, payload_file(), &offset, size);
            if (sent < 0)
                return errno == EAGAIN ? 0 : -1;
            c->download_at += (uint64_t)sent;
            c->download_left -= (uint64_t)sent;
            c->chunk_left -= (uint64_t)sent;
        } else if (c->chunked) {
            char line[32];
            const char *end_of_last = c->download_at > 0 ? "\r\n" : "";
            c->chunk_left = c->download_left < CHUNK_SIZE ? c->download_left : CHUNK_SIZE;
            c->downloading = c->chunk_left > 0;
            int size = snprintf(line, sizeof line, "%s%" PRIx64 "\r\n%s", end_of_last, c->chunk_left,
                                c->downloading ? "" : "\r\n");
            put(c, line, (size_t)size);
        } else {
            c->downloading = false;
        }
    }
    return flush_out(c, false);
}

static int send_flood(struct connection *c)
{
    int flushed = flush_out(c, false);
    while (flushed == 1 && c->flood.wire != NULL) {
        ssize_t sent = send(c->fd, c->flood.wire + c->flood_at, c->flood.wire_size - c->flood_at, MSG_NOSIGNAL);
        if (sent < 0)
            return errno == EAGAIN ? 0 : -1;
        c->flood_at += (size_t)sent;
        if (c->flood_at < c->flood.wire_size)
            continue;
        c->flood_at = 0;
        c->frame_count += c->flood.frames;
        checksum_add(&c->sum, payload(), c->flood.payload_size);
        if (now_ns() >= c->flood_until) {
            unsigned char frame[FRAME_HEAD_MAX];
            char summary[SUMMARY_MAX];
            size_t size = summary_write(summary, c->frame_count, checksum_end(&c->sum));
            put(c, frame, frame_head(frame, 0x80 | TEXT, size, NULL));
            put(c, summary, size);
            free(c->flood.wire);
            c->flood.wire = NULL;
            flushed = flush_out(c, false);
        }
    }
    return flushed;
}

static bool push(struct connection *c)
{
    int sent = c->downloading ? send_download(c) : c->flood.wire != NULL ? send_flood(c) : flush_out(c, false);
    if (sent < 0 || (sent == 1 && c->close_after))
        return false;
    uint32_t events = (sent == 0 ? (uint32_t)EPOLLOUT : 0) | (c->state == DEAF || sent == 0 ? 0 : (uint32_t)EPOLLIN);
    if (c->flood.wire != NULL)
        events |= EPOLLIN;
    if (events != c->events) {
        struct epoll_event event = {.events = events, .data.ptr = c};
        c->events = events;
        epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &event);
    }
    return true;
}

/* -- requests ------------------------------------------------------------------------------------------------------ */

static void begin_websocket(struct connection *c, const char *path)
{
    size_t length;
    char accept[29], response[256];
    const char *key = field(c->head, "Sec-WebSocket-Key", &length);
    websocket_accept(key, length, accept);
    int size = snprintf(response, sizeof response,
                        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        "Sec-WebSocket-Accept: %s\r\n\r\n",
                        accept);
    put(c, response, (size_t)size);
    c->frames = (struct frames){0};
    c->frame_count = 0;
    checksum_start(&c->sum);
    size_t frame_size;
    uint64_t milliseconds;
    c->state = ECHO;
    if (strncmp(path, "/ws/sink", 8) == 0)
        c->state = SINK;
    else if (strncmp(path, "/ws/stall", 9) == 0)
        c->state = DEAF;
    else if (sscanf(path, "/ws/source/%zu/%" SCNu64, &frame_size, &milliseconds) == 2) {
        flood_make(&c->flood, frame_size, NULL);
        c->flood_until = now_ns() + milliseconds * 1000000u;
        c->state = SINK;
    }
}

static void begin_download(struct connection *c, uint64_t size, bool chunked)
{
    char response[512], framing[64] = "Transfer-Encoding: chunked";
    if (!chunked)
        snprintf(framing, sizeof framing, "Content-Length: %" PRIu64, size);
    int written = snprintf(response, sizeof response,
                           "HTTP/1.1 200 OK\r\nServer: TornadoServer/6.5\r\nContent-Type: application/octet-stream\r\n"
                           "X-Checksum: %016" PRIx64 "\r\n%s\r\n\r\n",
                           payload_checksum(size), framing);
    put(c, response, (size_t)written);
    c->downloading = true;
    c->chunked = chunked;
    c->download_at = 0;
    c->download_left = size;
    c->chunk_left = chunked ? 0 : size;
}

static void answer_get(struct connection *c, const char *path)
{
    uint64_t size;
    if (sscanf(path, "/download/%" SCNu64, &size) == 1)
        begin_download(c, size, false);
    else if (sscanf(path, "/download-chunked/%" SCNu64, &size) == 1)
        begin_download(c, size, true);
    else if (strncmp(path, "/?authToken=", 12) == 0)
        put_response(c, "302 Found", "Set-Cookie: notebook-auth=1; HttpOnly; Path=/\r\nLocation: /lab\r\n", "");
    else
        put_response(c, "200 OK", "", SMALL_BODY);
}

static void end_body(struct connection *c)
{
    char body[OUT_MAX / 2];
    uint64_t sum = checksum_end(&c->sum);
    if (strncmp(c->head, "POST /upload", 12) == 0) {
        snprintf(body, sizeof body, "{\"bytes\": %" PRIu64 ", \"checksum\": \"%016" PRIx64 "\"}\n", c->body_size, sum);
        put_response(c, sum == c->wanted_sum ? "200 OK" : "409 Conflict", "", body);
    } else {
        snprintf(body, sizeof body, "{\"AuthorizedUrl\": \"http://127.0.0.1:%d?authToken=benchmark\"}", port);
        put_response(c, "200 OK", "", body);
    }
    c->state = HEAD;
}

static void read_body(struct connection *c, const unsigned char *data, size_t size)
{
    size_t at = 0;
    while (at < size && c->state != HEAD) {
        const unsigned char *piece = data + at;
        size_t piece_size = size - at;
        if (c->state == CHUNKED_BODY) {
            at += chunks_read(&c->chunks, data + at, size - at, &piece, &piece_size);
        } else {
            if (piece_size > c->body_left)
                piece_size = (size_t)c->body_left;
            c->body_left -= piece_size;
            at += piece_size;
        }
        checksum_add(&c->sum, piece, piece_size);
        c->body_size += piece_size;
        if (c->state == CHUNKED_BODY ? c->chunks.state == CHUNKS_DONE : c->body_left == 0)
            end_body(c);
        else if (c->chunks.state == CHUNKS_BROKEN) {
            put_response(c, "400 Bad Request", "Connection: close\r\n", "{}");
            c->close_after = true;
            c->state = DEAF;
            return;
        }
    }
}

/* `rest` is what came behind the head. Answers are put out; bodies are only begun. */
static void begin_request(struct connection *c, const unsigned char *rest, size_t rest_size)
{
    size_t length;
    const char *path = strchr(c->head, ' ');
    if (path == NULL)
        die("not HTTP: %.40s", c->head);
    path++;
    c->close_after = field_is(c->head, "Connection", "close");
    if (field(c->head, "Sec-WebSocket-Key", &length) != NULL) {
        begin_websocket(c, path);
        return; /* nobody sends frames before the handshake is answered */
    }
    uint64_t body = field_number(c->head, "Content-Length", 10, 0);
    bool chunked = field_is(c->head, "Transfer-Encoding", "chunked");
    if (strncmp(path, "/stall", 6) == 0) {
        c->state = DEAF;
    } else if (strncmp(c->head, "POST ", 5) == 0) {
        c->wanted_sum = field_number(c->head, "X-Checksum", 16, 0);
        c->body_left = body;
        c->body_size = 0;
        c->chunks = (struct chunks){0};
        checksum_start(&c->sum);
        c->state = chunked ? CHUNKED_BODY : BODY;
        if (!chunked && body == 0)
            end_body(c);
        else
            read_body(c, rest, rest_size);
    } else {
        answer_get(c, path);
    }
}

static bool read_head(struct connection *c)
{
    ssize_t got = recv(c->fd, c->head + c->head_size, HEAD_MAX - c->head_size, 0);
    if (got <= 0)
        return got < 0 && errno == EAGAIN;
    c->head_size += (size_t)got;
    c->head[c->head_size] = '\0';
    char *end = strstr(c->head, "\r\n\r\n");
    if (end == NULL)
        return c->head_size < HEAD_MAX;
    char *rest = end + 4;
    size_t rest_size = c->head_size - (size_t)(rest - c->head);
    end[2] = '\0';
    c->head_size = 0;
    begin_request(c, (unsigned char *)rest, rest_size);
    return push(c);
}

static bool read_rest(struct connection *c)
{
    ssize_t got = recv(c->fd, input, sizeof input, 0);
    if (got <= 0)
        return got < 0 && errno == EAGAIN;
    read_body(c, input, (size_t)got);
    return push(c);
}

/* -- WebSockets ---------------------------------------------------------------------------------------------------- */

static void judge_flood(struct connection *c)
{
    char wanted[SUMMARY_MAX];
    size_t size = summary_write(wanted, c->frame_count, checksum_end(&c->sum));
    bool same = size == c->summary_size && memcmp(wanted, c->summary, size) == 0;
    const char *verdict = same ? "same" : "differs";
    unsigned char frame[FRAME_HEAD_MAX];
    put(c, frame, frame_head(frame, 0x80 | TEXT, strlen(verdict), NULL));
    put(c, verdict, strlen(verdict));
}

static void sink_piece(struct connection *c, const struct piece *piece)
{
    unsigned opcode = piece->first_byte & 0x0f;
    if (opcode == TEXT) {
        if (piece->begins)
            c->summary_size = 0;
        if (c->summary_size + piece->size <= SUMMARY_MAX) {
            memcpy(c->summary + c->summary_size, piece->data, piece->size);
            c->summary_size += piece->size;
        }
        if (piece->ends)
            judge_flood(c);
    } else if (opcode < CLOSE) {
        checksum_add(&c->sum, piece->data, piece->size);
        c->frame_count += piece->ends;
    }
}

static bool read_frames(struct connection *c)
{
    ssize_t got = recv(c->fd, input, sizeof input, 0);
    if (got <= 0)
        return got < 0 && errno == EAGAIN;
    unsigned char *out = echoes;
    for (size_t at = 0; at < (size_t)got;) {
        struct piece piece;
        bool any;
        at += frames_read(&c->frames, input + at, (size_t)got - at, &piece, &any);
        if (!any)
            continue;
        unsigned opcode = piece.first_byte & 0x0f;
        if (opcode == CLOSE)
            c->close_after = piece.ends;
        if (c->state == ECHO || opcode == CLOSE || opcode == PING) {
            unsigned first_byte = opcode == PING ? 0x80 | PONG : piece.first_byte;
            if (piece.begins)
                out += frame_head(out, first_byte, piece.frame_size, NULL);
            memcpy(out, piece.data, piece.size);
            out += piece.size;
        } else {
            sink_piece(c, &piece);
        }
    }
    /* A flood is in the middle of a frame: what answers its caller has to wait, and nobody waits for it. */
    if (c->flood.wire == NULL)
        put(c, echoes, (size_t)(out - echoes));
    else if (c->close_after)
        return false;
    return push(c);
}

/* -- the loop ------------------------------------------------------------------------------------------------------ */

static void accept_all(int listener)
{
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct connection *c = calloc(1, sizeof *c);
        if (c == NULL)
            die("out of memory");
        c->fd = fd;
        c->events = EPOLLIN;
        struct epoll_event event = {.events = c->events, .data.ptr = c};
        epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
    }
}

static bool handle(struct connection *c, uint32_t events)
{
    if (events & (EPOLLERR | EPOLLHUP))
        return false;
    if (events & EPOLLOUT && !push(c))
        return false;
    if (!(events & EPOLLIN))
        return true;
    switch (c->state) {
    case HEAD: return read_head(c);
    case BODY:
    case CHUNKED_BODY: return read_rest(c);
    case ECHO:
    case SINK: return read_frames(c);
    case DEAF: return true;
    }
    return false;
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    payload_file();
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    if (bind(listener, (struct sockaddr *)&address, size) < 0 || listen(listener, 4096) < 0 ||
        getsockname(listener, (struct sockaddr *)&address, &size) < 0)
        die("listen: %m");
    port = ntohs(address.sin_port);
    poller = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
    printf("%d\n", port);
    fflush(stdout);
    for (;;) {
        struct epoll_event ready[256];
        int count = epoll_wait(poller, ready, 256, -1);
        for (int i = 0; i < count; i++) {
            struct connection *c = ready[i].data.ptr;
            if (c == NULL)
                accept_all(listener);
            else if (!handle(c, ready[i].events))
                finish(c);
        }
    }
}
