/* infer.c: X-rays through the accelerator in C alone, one after the other.
 * Research use only, not a medical device.
 *
 *     infer -r REGISTERS [-r REGISTERS] -b BUFFER [-p POINT] IMAGE...
 *
 * IMAGE      PGM (P5, 255) of the network's own size, or raw: CXRFLOW_IN_BYTES bytes as the stream has them.
 * REGISTERS  PATH@ADDRESS of the DMA, of FINN's shell those of the input and then of the output engine:
 *            /dev/mem@0x40400000, or /dev/uio0@0. The address is the cell's BASEVALUE in accelerator.hwh.
 * BUFFER     PATH@ADDRESS of memory that the DMA reaches, that nobody else uses and that no cache keeps, ADDRESS being
 *            the DMA's: /dev/mem@0x1F000000 where the kernel leaves it alone, or /dev/udmabuf0@ADDRESS (u-dma-buf).
 * POINT      the operating point of the class, by its name in cxrflow_accel.h; the accelerator's own if not given.
 *
 * Of /dev/mem the address is also where it is mapped; other files are mapped from their beginning. A path that is a
 * socket is a simulated device: driver/simulated/bridge.py. The bitstream must be loaded and the clock set, as
 * `python3 -m driver verify --device board` leaves them. Unlike driver/, this compares no known images on the way.
 */
#define _POSIX_C_SOURCE 200809L
#define _FILE_OFFSET_BITS 64
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "cxrflow_accel.h"

#ifndef CXRFLOW_IN_BYTES
#error "cxrflow_accel.h is of a network that was not built: it has no streams and no registers"
#endif
#ifndef TIMEOUT_S
#define TIMEOUT_S 10 /* of one image; it takes CXRFLOW_CYCLES_PER_IMAGE cycles */
#endif
#define ALIGNED 128u /* of buffers [byte]: enough for a DMA of any width */
#define OUT_AT ((CXRFLOW_IN_BYTES + ALIGNED - 1u) / ALIGNED * ALIGNED) /* of the result, behind the image */
#define REGISTER_BYTES 0x1000u /* that are mapped */
#ifdef CXRFLOW_OUTPUTS
#define OUTPUTS CXRFLOW_OUTPUTS
#else
#define OUTPUTS 1u
#endif

struct registers {
    volatile uint32_t *words; /* NULL: a socket */
    int socket;
    uint64_t address;
};

struct buffer {
    volatile uint8_t *bytes;
    uint64_t address; /* the DMA's */
};

static void stop(const char *format, ...) {
    va_list values;
    va_start(values, format);
    fprintf(stderr, "error: ");
    vfprintf(stderr, format, values);
    fprintf(stderr, "\n");
    va_end(values);
    exit(1);
}

/* Registers: words of memory, or questions to a simulated device. */

static void pass(int to, void *bytes, size_t count, int send) {
    for (size_t done = 0; done < count;) {
        char *from = (char *)bytes + done;
        ssize_t now = send ? write(to, from, count - done) : read(to, from, count - done);
        if (now > 0) done += (size_t)now;
        else if (now == 0 || errno != EINTR) stop("the simulated device is gone. Look at its own message.");
    }
}

static uint32_t ask(const struct registers *to, char what, uint32_t offset, uint32_t value) {
    unsigned char message[13] = {(unsigned char)what};
    for (unsigned i = 0; i < 8; i++) message[1 + i] = (unsigned char)((to->address + offset) >> (8u * i));
    for (unsigned i = 0; i < 4; i++) message[9 + i] = (unsigned char)(value >> (8u * i));
    pass(to->socket, message, sizeof message, 1);
    pass(to->socket, message, 4, 0);
    return message[0] | (uint32_t)message[1] << 8 | (uint32_t)message[2] << 16 | (uint32_t)message[3] << 24;
}

static uint32_t get(const struct registers *from, uint32_t offset) {
    return from->words ? from->words[offset / 4u] : ask(from, 'r', offset, 0);
}

static void put(const struct registers *to, uint32_t offset, uint32_t value) {
    __sync_synchronize(); /* what the DMA will read is in memory first */
    if (to->words) to->words[offset / 4u] = value;
    else ask(to, 'w', offset, value);
}

/* PATH@ADDRESS, opened; a socket is connected to, everything else mapped. */

static int opened(const char *text, size_t bytes, void **mapped, uint64_t *address) {
    const char *at = strrchr(text, '@');
    char path[108], *end; /* as long as the name of a socket may be */
    if (!at || at == text || (size_t)(at - text) >= sizeof path)
        stop("%s is no PATH@ADDRESS, such as /dev/mem@0x40400000.", text);
    memcpy(path, text, (size_t)(at - text));
    path[at - text] = 0;
    errno = 0;
    *address = strtoull(at + 1, &end, 0);
    if (errno || end == at + 1 || *end || at[1] == '-')
        stop("%s has no address behind the @, expected a number such as 0x40400000.", text);
    struct stat found;
    if (stat(path, &found)) stop("%s: %s.", path, strerror(errno));
    if (S_ISSOCK(found.st_mode)) {
        struct sockaddr_un name = {.sun_family = AF_UNIX};
        memcpy(name.sun_path, path, strlen(path));
        int line = socket(AF_UNIX, SOCK_STREAM, 0);
        if (line < 0 || connect(line, (struct sockaddr *)&name, sizeof name)) stop("%s: %s.", path, strerror(errno));
        *mapped = NULL;
        return line;
    }
    uint64_t start = strcmp(path, "/dev/mem") ? 0 : *address;
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), skip = start % page;
    int file = open(path, O_RDWR | O_SYNC);
    if (file < 0) stop("%s: %s. Are you root?", path, strerror(errno));
    char *whole = mmap(NULL, bytes + (size_t)skip, PROT_READ | PROT_WRITE, MAP_SHARED, file, (off_t)(start - skip));
    if (whole == MAP_FAILED) stop("%s cannot be mapped: %s.", text, strerror(errno));
    *mapped = whole + skip;
    return file;
}

static struct registers open_registers(const char *text) {
    struct registers made;
    void *mapped;
    made.socket = opened(text, REGISTER_BYTES, &mapped, &made.address);
    made.words = mapped;
    return made;
}

static struct buffer open_buffer(const char *text) {
    struct buffer made;
    void *mapped;
    opened(text, OUT_AT + CXRFLOW_OUT_BYTES, &mapped, &made.address);
    if (!mapped) stop("%s is a socket, expected memory.", text);
    if (made.address % ALIGNED) stop("%s does not begin at a multiple of %u bytes.", text, ALIGNED);
    made.bytes = mapped;
    return made;
}

/* The shell. Both wait for TIMEOUT_S at most, and say what they last saw. */

static double now_s(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

#ifdef CXRFLOW_IODMA_CTRL

#define WINDOWS 2 /* of registers: input engine, output engine */

static void prepare(const struct registers *shell) {
    for (int i = 0; i < WINDOWS; i++) {
        get(&shell[i], CXRFLOW_IODMA_CTRL); /* an end of before goes */
        uint32_t status = get(&shell[i], CXRFLOW_IODMA_CTRL);
        if (!(status & CXRFLOW_IODMA_IDLE) || status & (CXRFLOW_IODMA_START | CXRFLOW_IODMA_DONE))
            stop("%s engine reads 0x%08lX, expected idle. Load the bitstream again.", i ? "output" : "input",
                 (unsigned long)status);
    }
}

static void compute(const struct registers *shell, uint64_t in, uint64_t out) {
    const uint64_t buffers[WINDOWS] = {in, out};
    for (int i = WINDOWS - 1; i >= 0; i--) { /* the writer first: nothing may come out that nobody waits for */
        put(&shell[i], CXRFLOW_IODMA_ADDRESS_LOW, (uint32_t)buffers[i]);
        put(&shell[i], CXRFLOW_IODMA_ADDRESS_HIGH, (uint32_t)(buffers[i] >> 32));
        put(&shell[i], CXRFLOW_IODMA_REPS, 1);
        put(&shell[i], CXRFLOW_IODMA_CTRL, CXRFLOW_IODMA_START);
    }
    double end = now_s() + TIMEOUT_S;
    uint32_t status;
    while (!((status = get(&shell[1], CXRFLOW_IODMA_CTRL)) & CXRFLOW_IODMA_DONE)) /* reading clears it */
        if (now_s() > end) stop("no result in time: the output engine reads 0x%08lX.", (unsigned long)status);
    while (!((status = get(&shell[0], CXRFLOW_IODMA_CTRL)) & CXRFLOW_IODMA_IDLE))
        if (now_s() > end) stop("the input engine still reads 0x%08lX.", (unsigned long)status);
}

#else

#define WINDOWS 1

/* Wait until the bits `mask` of both channels' statuses are `wanted`. An error of either stops, and a halt, too, unless
   that is what is to end. */
static void wait_until(const struct registers *dma, uint32_t mask, uint32_t wanted, const char *what) {
    const uint32_t bad = CXRFLOW_AXI_DMA_ERRORS | (mask & CXRFLOW_AXI_DMA_HALTED ? 0u : CXRFLOW_AXI_DMA_HALTED);
    for (double end = now_s() + TIMEOUT_S;;) {
        uint32_t send = get(dma, CXRFLOW_AXI_DMA_MM2S_DMASR), receive = get(dma, CXRFLOW_AXI_DMA_S2MM_DMASR);
        int failed = ((send | receive) & bad) != 0;
        if (failed || now_s() > end)
            stop("%s: MM2S status 0x%08lX, S2MM status 0x%08lX. Load the bitstream again.",
                 failed ? "the DMA failed" : what, (unsigned long)send, (unsigned long)receive);
        if ((send & mask) == wanted && (receive & mask) == wanted) return;
    }
}

static void prepare(const struct registers *dma) {
    put(dma, CXRFLOW_AXI_DMA_MM2S_DMACR, CXRFLOW_AXI_DMA_RESET); /* of either channel: it resets both */
    for (double end = now_s() + TIMEOUT_S; get(dma, CXRFLOW_AXI_DMA_MM2S_DMACR) & CXRFLOW_AXI_DMA_RESET;)
        if (now_s() > end) stop("the DMA stays in reset. Is the bitstream loaded, and the address its DMA's?");
    put(dma, CXRFLOW_AXI_DMA_MM2S_DMACR, CXRFLOW_AXI_DMA_RUN);
    put(dma, CXRFLOW_AXI_DMA_S2MM_DMACR, CXRFLOW_AXI_DMA_RUN);
    wait_until(dma, CXRFLOW_AXI_DMA_HALTED, 0, "the DMA does not run");
}

static void compute(const struct registers *dma, uint64_t in, uint64_t out) {
    put(dma, CXRFLOW_AXI_DMA_S2MM_DA, (uint32_t)out); /* the receiver first */
    put(dma, CXRFLOW_AXI_DMA_S2MM_DA_MSB, (uint32_t)(out >> 32));
    put(dma, CXRFLOW_AXI_DMA_S2MM_LENGTH, CXRFLOW_OUT_BYTES);
    put(dma, CXRFLOW_AXI_DMA_MM2S_SA, (uint32_t)in);
    put(dma, CXRFLOW_AXI_DMA_MM2S_SA_MSB, (uint32_t)(in >> 32));
    put(dma, CXRFLOW_AXI_DMA_MM2S_LENGTH, CXRFLOW_IN_BYTES);
    wait_until(dma, CXRFLOW_AXI_DMA_IDLE, CXRFLOW_AXI_DMA_IDLE, "no result in time");
    uint32_t came = get(dma, CXRFLOW_AXI_DMA_S2MM_LENGTH);
    if (came != CXRFLOW_OUT_BYTES)
        stop("%lu bytes of results came, expected %u. Load the bitstream again.", (unsigned long)came,
             CXRFLOW_OUT_BYTES);
}

#endif

/* An image file, packed as the stream has it. */

#ifdef CXRFLOW_GRAY

static long number(FILE *file) {
    int c = getc(file);
    while (c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '#') {
        if (c == '#')
            while (c != '\n' && c != EOF) c = getc(file);
        c = getc(file);
    }
    long value = -1;
    for (; c >= '0' && c <= '9' && value < 100000; c = getc(file)) value = (value < 0 ? 0 : value) * 10 + (c - '0');
    return value; /* one byte of white space is taken behind it, as PGM has it */
}

/* The stream has pixels row by row, a byte each: as PGM. `file` is behind the P5. */
static void load_pgm(const char *path, FILE *file, uint8_t packed[CXRFLOW_IN_BYTES]) {
    long width = number(file), height = number(file), white = number(file);
    if (width != (long)CXRFLOW_WIDTH || height != (long)CXRFLOW_HEIGHT || white != 255)
        stop("%s is %ld x %ld pixels of 0..%ld, expected %u x %u of 0..255. Convert it first.", path, width, height,
             white, CXRFLOW_WIDTH, CXRFLOW_HEIGHT);
    if (fread(packed, 1, CXRFLOW_IN_BYTES, file) != CXRFLOW_IN_BYTES || getc(file) != EOF)
        stop("%s does not hold %u pixels. Convert it again.", path, CXRFLOW_IN_BYTES);
}

#else

static void load_pgm(const char *path, FILE *file, uint8_t packed[CXRFLOW_IN_BYTES]) {
    (void)file, (void)packed;
    stop("%s is PGM, but the network reads other values than gray pixels. Give raw files.", path);
}

#endif

static void load(const char *path, uint8_t packed[CXRFLOW_IN_BYTES]) {
    FILE *file = fopen(path, "rb");
    if (!file) stop("%s: %s.", path, strerror(errno));
    size_t count = fread(packed, 1, CXRFLOW_IN_BYTES, file);
    if (count != CXRFLOW_IN_BYTES || getc(file) != EOF) { /* not raw */
        rewind(file);
        if (getc(file) != 'P' || getc(file) != '5')
            stop("%s is neither PGM (P5) nor raw of %u bytes. Convert it first.", path, CXRFLOW_IN_BYTES);
        load_pgm(path, file, packed);
    }
    fclose(file);
}

/* The number of an operating point: CXRFLOW_POINTS is the own one, which cxrflow_class answers for. */

#ifdef CXRFLOW_POINTS
#define CLASS_AT(p, outputs) (p < CXRFLOW_POINTS ? cxrflow_class_at(p, outputs) : cxrflow_class(outputs))
#else
#define CXRFLOW_POINTS 0u
#define CLASS_AT(p, outputs) ((void)p, cxrflow_class(outputs))
#endif

static unsigned point_called(const char *name) {
    unsigned p = 0;
#if CXRFLOW_POINTS
    while (p < CXRFLOW_POINTS && strcmp(name, cxrflow_point_name(p))) p++;
#endif
    if (p == CXRFLOW_POINTS) {
        fprintf(stderr, "error: there is no operating point %s beside the own one, which is taken without -p.", name);
#if CXRFLOW_POINTS
        for (p = 0; p < CXRFLOW_POINTS; p++) fprintf(stderr, "%s%s", p ? ", " : " Others: ", cxrflow_point_name(p));
#endif
        fprintf(stderr, "\n");
        exit(2);
    }
    return p;
}

/* A result, unpacked. */

static void show(const char *path, const uint8_t result[CXRFLOW_OUT_BYTES], unsigned point) {
    int32_t outputs[OUTPUTS];
    printf("%s  outputs", path);
    for (unsigned k = 0; k < OUTPUTS; k++) {
#ifdef CXRFLOW_OUTPUTS
        outputs[k] = cxrflow_output(result + k * CXRFLOW_OUTPUT_BYTES);
#else
        outputs[k] = cxrflow_logit(result);
#endif
        printf(" %ld", (long)outputs[k]);
    }
#if defined CXRFLOW_CLASSES
    unsigned label = CLASS_AT(point, outputs);
    printf("  class %u %s", label, cxrflow_class_name(label));
#elif defined CXRFLOW_THRESHOLD
    printf("  class %d", CLASS_AT(point, outputs[0]));
#else
    (void)point;
#endif
    printf("\n");
    fflush(stdout);
}

int main(int count, char *arguments[]) {
    static uint8_t packed[CXRFLOW_IN_BYTES], result[CXRFLOW_OUT_BYTES];
    struct registers shell[2];
    struct buffer memory = {NULL, 0};
    unsigned point = CXRFLOW_POINTS;
    int option, windows = 0;
    while ((option = getopt(count, arguments, "r:b:p:")) != -1) {
        if (option == 'r' && windows < WINDOWS) shell[windows++] = open_registers(optarg);
        else if (option == 'b' && !memory.bytes) memory = open_buffer(optarg);
        else if (option == 'p') point = point_called(optarg);
        else break;
    }
    if (option != -1 || windows != WINDOWS || !memory.bytes || optind == count) {
        const char *second = WINDOWS == 2 ? "-r PATH@ADDRESS " : "";
        fprintf(stderr, "usage: infer %s-r PATH@ADDRESS -b PATH@ADDRESS [-p POINT] IMAGE...\n", second);
        return 2;
    }
    prepare(shell);
    for (int i = optind; i < count; i++) {
        load(arguments[i], packed);
        /* Byte by byte: memcpy may do to memory what memory of a device cannot. */
        for (size_t j = 0; j < CXRFLOW_IN_BYTES; j++) memory.bytes[j] = packed[j];
        compute(shell, memory.address, memory.address + OUT_AT);
        for (size_t j = 0; j < CXRFLOW_OUT_BYTES; j++) result[j] = memory.bytes[OUT_AT + j];
        show(arguments[i], result, point);
    }
    printf("Research use only, not a medical device.\n");
    return 0;
}
