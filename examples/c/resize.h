/* Pillow's bilinear, antialiased resize of 8-bit RGB images, bit for bit. */
#ifndef MAMBAAD_RESIZE_H
#define MAMBAAD_RESIZE_H

#include <stdint.h>

/* Resizes `image` (height, width, 3) into `resized` (to_height, to_width, 3), both row by row.
 *
 * As Pillow's Image.resize with BILINEAR: each direction by itself, columns first (but for
 * very high images); a pixel is the
 * mean of those around its centre, with weights that fall linearly to 0 over one pixel of the
 * result or of the image, whichever is larger; the weights are rounded to whole 2^-22nds, and what
 * the first direction gives to 8 bits.
 *
 * Returns 0, or -1 for a size below 1 or where memory is missing. */
int mambaad_resize(const uint8_t* image, int height, int width, uint8_t* resized, int to_height,
                   int to_width);

#endif
