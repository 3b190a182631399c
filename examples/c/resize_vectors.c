/* Resizes what a file holds, to test mambaad_resize: resize_vectors GIVEN RESULT.
 *
 * GIVEN, as resize_vectors.py writes it, has for each image four 32-bit numbers, height, width, and
 * those to resize to, and its pixels. RESULT gets the pixels of the resized images. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "resize.h"

int main(int count, char** arguments) {
  if (count != 3) return 2;
  FILE* given = fopen(arguments[1], "rb");
  FILE* result = fopen(arguments[2], "wb");
  if (!given || !result) return 2;
  int32_t sizes[4];
  while (fread(sizes, 4, 4, given) == 4) {
    const size_t bytes = (size_t)sizes[0] * sizes[1] * 3, to = (size_t)sizes[2] * sizes[3] * 3;
    uint8_t *image = malloc(bytes), *resized = malloc(to);
    if (!image || !resized || fread(image, 1, bytes, given) != bytes) return 3;
    if (mambaad_resize(image, sizes[0], sizes[1], resized, sizes[2], sizes[3])) return 4;
    if (fwrite(resized, 1, to, result) != to) return 5;
    free(image);
    free(resized);
  }
  fclose(given);
  return fclose(result) ? 5 : 0;
}
