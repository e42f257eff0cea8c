/* inflate: of each frame of u32 size, u32 count and `size` bytes, a line: the checksum of their `count` bytes, or "no".
 */
#include <stdio.h>
#include <stdlib.h>

#include "inflate.h"

int main(void) {
    uint32_t head[2];
    while (fread(head, sizeof head, 1, stdin)) {
        uint8_t *bytes = malloc(head[0] + !head[0]), *plain = malloc(head[1] + !head[1]);
        if (!bytes || !plain || fread(bytes, 1, head[0], stdin) != head[0])
            return 2;
        if (sv_inflate(plain, head[1], bytes, head[0]))
            printf("%u\n", sv_crc32(plain, head[1]));
        else
            puts("no");
        free(bytes);
        free(plain);
    }
    return 0;
}
