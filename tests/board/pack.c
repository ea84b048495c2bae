/* One image to the accelerator's bytes, and one result back to a logit, with cxrflow_accel.h alone:
   pixels, one per line, then the bytes of a result; printed are the packed bytes, the logit and the class. */
#include <stdio.h>
#include "cxrflow_accel.h"

static unsigned next(void) {
    unsigned value = 0;
    return scanf("%u", &value) == 1 ? value : 999u;
}

int main(void) {
    static uint8_t image[CXRFLOW_HEIGHT][CXRFLOW_WIDTH], stream[CXRFLOW_IN_BYTES], result[CXRFLOW_OUT_BYTES];
    for (unsigned y = 0; y < CXRFLOW_HEIGHT; y++)
        for (unsigned x = 0; x < CXRFLOW_WIDTH; x++) image[y][x] = (uint8_t)next();
    for (unsigned i = 0; i < CXRFLOW_IN_BYTES; i++) stream[i] = image[i / CXRFLOW_WIDTH][i % CXRFLOW_WIDTH];
    for (unsigned i = 0; i < CXRFLOW_OUT_BYTES; i++) result[i] = (uint8_t)next();
    for (unsigned i = 0; i < CXRFLOW_IN_BYTES; i++) printf("%u ", stream[i]);
    printf("%ld %d\n", (long)cxrflow_logit(result), cxrflow_class(cxrflow_logit(result)));
    return 0;
}
