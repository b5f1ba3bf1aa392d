/* See wire.h. */
#define _GNU_SOURCE
#include "wire.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* -- checksum: XXH64, github.com/Cyan4973/xxHash, doc/xxhash_spec.md ------------------------------------------ */

static const uint64_t P1 = 0x9E3779B185EBCA87u, P2 = 0xC2B2AE3D27D4EB4Fu, P3 = 0x165667B19E3779F9u,
                      P4 = 0x85EBCA77C2B2AE63u, P5 = 0x27D4EB2F165667C5u;

static uint64_t rotate(uint64_t value, int bits)
{
    return value << bits | value >> (64 - bits);
}

static uint64_t mix(uint64_t lane, uint64_t input)
{
    return rotate(lane + input * P2, 31) * P1;
}

static uint64_t word(const unsigned char *data)
{
    uint64_t value;
    memcpy(&value, data, sizeof value);
    return value;
}

void checksum_start(struct checksum *self)
{
    *self = (struct checksum){.lane = {P1 + P2, P2, 0, -P1}};
}

static void stripes(struct checksum *self, const unsigned char *data, size_t size)
{
    uint64_t a = self->lane[0], b = self->lane[1], c = self->lane[2], d = self->lane[3];
    for (; size >= 32; data += 32, size -= 32) {
        a = mix(a, word(data));
        b = mix(b, word(data + 8));
        c = mix(c, word(data + 16));
        d = mix(d, word(data + 24));
    }
    self->lane[0] = a, self->lane[1] = b, self->lane[2] = c, self->lane[3] = d;
}

void checksum_add(struct checksum *self, const void *data, size_t size)
{
    const unsigned char *bytes = data;
    self->total += size;
    if (self->tail_size + size < 32) {
        memcpy(self->tail + self->tail_size, bytes, size);
        self->tail_size += size;
        return;
    }
    if (self->tail_size > 0) {
        size_t missing = 32 - self->tail_size;
        memcpy(self->tail + self->tail_size, bytes, missing);
        stripes(self, self->tail, 32);
        bytes += missing;
        size -= missing;
    }
    stripes(self, bytes, size);
    self->tail_size = size % 32;
    memcpy(self->tail, bytes + size - self->tail_size, self->tail_size);
}

uint64_t checksum_end(const struct checksum *self)
{
    uint64_t sum = P5;
    if (self->total >= 32) {
        const uint64_t *lane = self->lane;
        sum = rotate(lane[0], 1) + rotate(lane[1], 7) + rotate(lane[2], 12) + rotate(lane[3], 18);
        for (int i = 0; i < 4; i++)
            sum = (sum ^ mix(0, lane[i])) * P1 + P4;
    }
    sum += self->total;
    const unsigned char *data = self->tail, *end = data + self->tail_size;
    for (; end - data >= 8; data += 8)
        sum = rotate(sum ^ mix(0, word(data)), 27) * P1 + P4;
    if (end - data >= 4) {
        uint32_t half;
        memcpy(&half, data, sizeof half);
        sum = rotate(sum ^ half * P1, 23) * P2 + P3;
        data += 4;
    }
    for (; data < end; data++)
        sum = rotate(sum ^ *data * P5, 11) * P1;
    sum = (sum ^ sum >> 33) * P2;
    sum = (sum ^ sum >> 29) * P3;
    return sum ^ sum >> 32;
}

/* -- payload ---------------------------------------------------------------------------------------------------- */

const unsigned char *payload(void)
{
    static unsigned char *bytes;
    if (bytes == NULL) {
        bytes = malloc(PAYLOAD_SIZE);
        if (bytes == NULL)
            die("out of memory");
        uint64_t state = 0x2545F4914F6CDD1Du;
        for (size_t at = 0; at < PAYLOAD_SIZE; at += sizeof state) {
            state ^= state << 13, state ^= state >> 7, state ^= state << 17; /* xorshift64 */
            memcpy(bytes + at, &state, sizeof state);
        }
    }
    return bytes;
}

int payload_file(void)
{
    static int file = -1;
    if (file < 0) {
        file = memfd_create("payload", MFD_CLOEXEC);
        if (file < 0 || write(file, payload(), PAYLOAD_SIZE) != (ssize_t)PAYLOAD_SIZE)
            die("memfd: %m");
    }
    return file;
}

uint64_t payload_checksum(uint64_t size)
{
    static uint64_t known_size, known;
    if (size != known_size || size == 0) {
        struct checksum sum;
        checksum_start(&sum);
        for (uint64_t left = size; left > 0;) {
            size_t part = left < PAYLOAD_SIZE ? (size_t)left : PAYLOAD_SIZE;
            checksum_add(&sum, payload(), part);
            left -= part;
        }
        known_size = size, known = checksum_end(&sum);
    }
    return known;
}

/* -- chunked coding (RFC 9112 section 7.1) ---------------------------------------------------------------------- */

static int digit_of(unsigned char character)
{
    if (character >= '0' && character <= '9')
        return character - '0';
    character |= 0x20;
    return character >= 'a' && character <= 'f' ? character - 'a' + 10 : -1;
}

static void chunk_line(struct chunks *self, unsigned char character)
{
    int digit = digit_of(character);
    if (character == '\n' && self->digits > 0) {
        self->state = self->left > 0 ? CHUNK_DATA : CHUNK_LAST;
        self->digits = 0, self->in_extension = false;
    } else if (self->in_extension || character == '\r' || character == ';') {
        self->in_extension = self->in_extension || character == ';';
    } else if (digit >= 0 && self->digits < 15) {
        self->left = self->left << 4 | (uint64_t)digit;
        self->digits++;
    } else {
        self->state = CHUNKS_BROKEN;
    }
}

static void chunk_line_end(struct chunks *self, unsigned char character)
{
    if (character != (self->line_ends == 0 ? '\r' : '\n'))
        self->state = CHUNKS_BROKEN;
    else if (++self->line_ends == 2) {
        self->state = self->state == CHUNK_LAST ? CHUNKS_DONE : CHUNK_SIZE_LINE;
        self->line_ends = 0;
    }
}

size_t chunks_read(struct chunks *self, const unsigned char *data, size_t size, const unsigned char **piece,
                   size_t *piece_size)
{
    size_t at = 0;
    *piece_size = 0;
    while (at < size && self->state < CHUNKS_DONE) {
        if (self->state == CHUNK_DATA) {
            *piece = data + at;
            *piece_size = self->left < size - at ? (size_t)self->left : size - at;
            self->left -= *piece_size;
            if (self->left == 0)
                self->state = CHUNK_END;
            return at + *piece_size;
        }
        if (self->state == CHUNK_SIZE_LINE)
            chunk_line(self, data[at++]);
        else
            chunk_line_end(self, data[at++]);
    }
    return at;
}

/* -- WebSocket frames --------------------------------------------------------------------------------------------- */

size_t frame_head(unsigned char *out, unsigned first_byte, uint64_t size, const unsigned char *mask)
{
    size_t bytes = size < 126 ? 0 : size < 65536 ? 2 : 8;
    out[0] = (unsigned char)first_byte;
    out[1] = (unsigned char)((mask ? 0x80 : 0) | (bytes == 0 ? size : bytes == 2 ? 126 : 127));
    for (size_t i = 0; i < bytes; i++)
        out[2 + i] = (unsigned char)(size >> 8 * (bytes - 1 - i));
    if (mask != NULL)
        memcpy(out + 2 + bytes, mask, 4);
    return 2 + bytes + (mask ? 4 : 0);
}

void mask_bytes(unsigned char *data, size_t size, const unsigned char mask[4], size_t offset)
{
    unsigned char turned[8];
    for (size_t i = 0; i < sizeof turned; i++)
        turned[i] = mask[(offset + i) % 4];
    uint64_t wide = word(turned);
    size_t at = 0;
    for (; at + 8 <= size; at += 8) {
        uint64_t value = word(data + at) ^ wide;
        memcpy(data + at, &value, sizeof value);
    }
    for (; at < size; at++)
        data[at] ^= turned[at % 4];
}

static size_t head_length(const struct frames *self)
{
    if (self->head_size < 2)
        return 2;
    unsigned size = self->head[1] & 0x7f;
    return 2 + (size == 126 ? 2 : size == 127 ? 8 : 0) + (self->head[1] & 0x80 ? 4 : 0);
}

static void head_complete(struct frames *self)
{
    size_t at = 2, size = self->head[1] & 0x7f;
    self->size = size;
    if (size >= 126) {
        self->size = 0;
        for (size_t end = at + (size == 126 ? 2 : 8); at < end; at++)
            self->size = self->size << 8 | self->head[at];
    }
    self->masked = self->head[1] & 0x80;
    if (self->masked)
        memcpy(self->mask, self->head + at, 4);
    self->at = 0;
    self->in_payload = true;
}

size_t frames_read(struct frames *self, unsigned char *data, size_t size, struct piece *piece, bool *any)
{
    size_t at = 0;
    *any = false;
    while (!self->in_payload) {
        if (at == size)
            return at;
        self->head[self->head_size++] = data[at++];
        if (self->head_size >= 2 && self->head_size == head_length(self))
            head_complete(self);
    }
    uint64_t left = self->size - self->at;
    size_t taken = left < size - at ? (size_t)left : size - at;
    if (taken == 0 && left > 0)
        return at;
    *any = true;
    *piece = (struct piece){.data = data + at,
                            .size = taken,
                            .frame_size = self->size,
                            .first_byte = self->head[0],
                            .begins = self->at == 0,
                            .ends = taken == left};
    if (self->masked)
        mask_bytes(data + at, taken, self->mask, self->at % 4);
    self->at += taken;
    if (piece->ends) {
        self->in_payload = false;
        self->head_size = 0;
    }
    return at + taken;
}

void flood_make(struct flood *self, size_t frame_size, const unsigned char *mask)
{
    if (frame_size == 0 || frame_size > PAYLOAD_SIZE)
        die("a flood's frames have 1 to %zu bytes", PAYLOAD_SIZE);
    self->frames = 1024;
    if (self->frames * frame_size > PAYLOAD_SIZE)
        self->frames = PAYLOAD_SIZE / frame_size;
    self->payload_size = self->frames * frame_size;
    self->wire = malloc(self->payload_size + self->frames * FRAME_HEAD_MAX);
    if (self->wire == NULL)
        die("out of memory");
    unsigned char *out = self->wire;
    for (size_t at = 0; at < self->payload_size; at += frame_size) {
        out += frame_head(out, 0x80 | BINARY, frame_size, mask);
        memcpy(out, payload() + at, frame_size);
        if (mask != NULL)
            mask_bytes(out, frame_size, mask, 0);
        out += frame_size;
    }
    self->wire_size = (size_t)(out - self->wire);
}

size_t summary_write(char *out, uint64_t frames, uint64_t checksum)
{
    return (size_t)snprintf(out, SUMMARY_MAX, "%" PRIu64 " %016" PRIx64, frames, checksum);
}

/* -- HTTP heads --------------------------------------------------------------------------------------------------- */

const char *field(const char *head, const char *name, size_t *length)
{
    size_t name_length = strlen(name);
    for (const char *line = strchr(head, '\n'); line != NULL; line = strchr(line, '\n')) {
        line++;
        if (strncasecmp(line, name, name_length) == 0 && line[name_length] == ':') {
            line += name_length + 1;
            line += strspn(line, " \t");
            *length = strcspn(line, "\r\n");
            return line;
        }
    }
    return NULL;
}

bool field_is(const char *head, const char *name, const char *value)
{
    size_t length;
    const char *found = field(head, name, &length);
    return found != NULL && length == strlen(value) && strncasecmp(found, value, length) == 0;
}

uint64_t field_number(const char *head, const char *name, int base, uint64_t absent)
{
    size_t length;
    const char *found = field(head, name, &length);
    return found != NULL ? strtoull(found, NULL, base) : absent;
}

/* -- the handshake: SHA-1 (RFC 3174) and Base64, for a text of at most 119 bytes ---------------------------------- */

static uint32_t rotate32(uint32_t value, int bits)
{
    return value << bits | value >> (32 - bits);
}

static void sha1_block(uint32_t state[5], const unsigned char *block)
{
    uint32_t w[80];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 | (uint32_t)block[4 * i + 2] << 8 |
               block[4 * i + 3];
    for (int i = 16; i < 80; i++)
        w[i] = rotate32(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
    for (int i = 0; i < 80; i++) {
        uint32_t f = i < 20   ? ((b & c) | (~b & d)) + 0x5A827999u
                     : i < 40 ? (b ^ c ^ d) + 0x6ED9EBA1u
                     : i < 60 ? ((b & c) | (b & d) | (c & d)) + 0x8F1BBCDCu
                              : (b ^ c ^ d) + 0xCA62C1D6u;
        uint32_t next = rotate32(a, 5) + f + e + w[i];
        e = d, d = c, c = rotate32(b, 30), b = a, a = next;
    }
    state[0] += a, state[1] += b, state[2] += c, state[3] += d, state[4] += e;
}

void websocket_accept(const char *key, size_t length, char *out)
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned char text[128] = {0};
    if (length > 64)
        length = 64;
    memcpy(text, key, length);
    memcpy(text + length, guid, sizeof guid - 1);
    size_t total = length + sizeof guid - 1;
    text[total] = 0x80;
    size_t blocks = total + 9 <= 64 ? 1 : 2;
    text[blocks * 64 - 2] = (unsigned char)(total * 8 >> 8);
    text[blocks * 64 - 1] = (unsigned char)(total * 8);
    uint32_t state[5] = {0x67452301u, 0xEFCDAB89u, 0x98BADCFEu, 0x10325476u, 0xC3D2E1F0u};
    for (size_t i = 0; i < blocks; i++)
        sha1_block(state, text + 64 * i);
    unsigned char digest[21] = {0};
    for (int i = 0; i < 20; i++)
        digest[i] = (unsigned char)(state[i / 4] >> (24 - 8 * (i % 4)));
    for (int i = 0; i < 7; i++) {
        uint32_t group = (uint32_t)digest[3 * i] << 16 | (uint32_t)digest[3 * i + 1] << 8 | digest[3 * i + 2];
        for (int j = 0; j < 4; j++)
            out[4 * i + j] = digits[group >> (18 - 6 * j) & 63];
    }
    out[27] = '=';
    out[28] = '\0';
}
