/* What origin and load share: a checksum, the payload, chunked coding, WebSocket frames, HTTP heads.
 *
 * The rule: nothing here blocks or allocates per message, so that neither end of a benchmark is its bottleneck.
 */
#ifndef BENCHMARKS_WIRE_H
#define BENCHMARKS_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* XXH64, seed 0, fed piece by piece. */
struct checksum {
    uint64_t lane[4];
    uint64_t total;
    unsigned char tail[32];
    size_t tail_size;
};
void checksum_start(struct checksum *self);
void checksum_add(struct checksum *self, const void *data, size_t size);
uint64_t checksum_end(const struct checksum *self);

/* Bodies are the first bytes of one pseudo-random mebibyte, repeated: in memory, and as a file for sendfile(2). */
#define PAYLOAD_SIZE ((size_t)1 << 20)
const unsigned char *payload(void);
int payload_file(void);
uint64_t payload_checksum(uint64_t size);

/* What a small GET is answered with, about as long as Jupyter's answers to what a page polls. */
#define SMALL_PATH "/api/contents/notebook.ipynb"
#define SMALL_BODY                                                                                                  \
    "{\"name\": \"notebook.ipynb\", \"path\": \"notebook.ipynb\", \"type\": \"notebook\", \"writable\": true}\n"

/* Chunked bodies are written in chunks of this size, Tornado's for files. */
#define CHUNK_SIZE ((size_t)64 << 10)

/* A decoder of chunked bodies; trailers are not expected. */
enum chunks_state { CHUNK_SIZE_LINE, CHUNK_DATA, CHUNK_END, CHUNK_LAST, CHUNKS_DONE, CHUNKS_BROKEN };
struct chunks {
    enum chunks_state state;
    uint64_t left;
    unsigned digits, line_ends;
    bool in_extension;
};
/* Consumes some of `data`, returns how much; `*piece` is what of it was body, of `*piece_size` bytes. */
size_t chunks_read(struct chunks *self, const unsigned char *data, size_t size, const unsigned char **piece,
                   size_t *piece_size);

/* WebSocket frames (RFC 6455 section 5.2). */
enum opcode { TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10 };
#define FRAME_HEAD_MAX 14
size_t frame_head(unsigned char *out, unsigned first_byte, uint64_t size, const unsigned char *mask);
void mask_bytes(unsigned char *data, size_t size, const unsigned char mask[4], size_t offset);

struct frames {
    unsigned char head[FRAME_HEAD_MAX];
    size_t head_size;
    uint64_t size, at;
    unsigned char mask[4];
    bool in_payload, masked;
};
struct piece {
    unsigned char *data; /* unmasked in place */
    size_t size;
    uint64_t frame_size;
    unsigned first_byte;
    bool begins, ends;
};
/* Consumes some of `data`, returns how much. False in `*any` if that was only a part of a frame's head. */
size_t frames_read(struct frames *self, unsigned char *data, size_t size, struct piece *piece, bool *any);

/* A flood: frames of one size, encoded once and sent over and over. */
struct flood {
    unsigned char *wire;
    size_t wire_size, payload_size;
    uint64_t frames;
};
void flood_make(struct flood *self, size_t frame_size, const unsigned char *mask);
/* What ends a flood: a text frame with the number of frames and the checksum of their payloads. */
#define SUMMARY_MAX 64
size_t summary_write(char *out, uint64_t frames, uint64_t checksum);

/* The value of a field in a head (a terminated string), or NULL; it ends at `*length`. */
const char *field(const char *head, const char *name, size_t *length);
bool field_is(const char *head, const char *name, const char *value);
uint64_t field_number(const char *head, const char *name, int base, uint64_t absent);

/* Sec-WebSocket-Accept for a key; `out` has room for 29 characters. */
void websocket_accept(const char *key, size_t length, char *out);

uint64_t now_ns(void);
void die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

#endif
