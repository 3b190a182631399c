#include "resize.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BITS = 22 }; /* of a weight's fraction: 8 of the pixel, and 2 to spare in 32 */

/* The pixels that one pixel of the result is a mean of, and their weights. */
typedef struct {
  int first, count;
  int32_t* weights;
} Window;

static void free_windows(Window* windows, int size) {
  for (int i = 0; windows && i < size; ++i) free(windows[i].weights);
  free(windows);
}

/* The windows of the `to` pixels of a row of `from`; null where memory is missing. */
static Window* make_windows(int from, int to) {
  const double scale = (double)from / to, width = scale > 1 ? scale : 1;
  Window* windows = calloc((size_t)to, sizeof(Window));
  double* exact = malloc(sizeof(double) * (size_t)(2 * ceil(width) + 1));
  for (int i = 0; windows && exact && i < to; ++i) {
    const double centre = (i + 0.5) * scale;
    Window* window = &windows[i];
    int first = (int)(centre - width + 0.5), last = (int)(centre + width + 0.5);
    first = first < 0 ? 0 : first;
    last = last > from ? from : last;
    window->first = first;
    window->count = last - first;
    window->weights = malloc(sizeof(int32_t) * (size_t)(window->count ? window->count : 1));
    if (!window->weights) {
      free(exact);
      free_windows(windows, to);
      return NULL;
    }
    double sum = 0;
    for (int j = 0; j < window->count; ++j) {
      const double distance = fabs((first + j - centre + 0.5) * (1.0 / width));
      exact[j] = distance < 1 ? 1 - distance : 0;
      sum += exact[j];
    }
    for (int j = 0; j < window->count; ++j) {
      if (sum != 0) exact[j] *= 1.0 / sum;
      window->weights[j] = (int32_t)(0.5 + exact[j] * (1 << BITS));
    }
  }
  free(exact);
  return windows;
}

/* The mean of a window's pixels, `step` bytes apart. */
static uint8_t mean(const Window* window, const uint8_t* pixels, size_t step) {
  int64_t sum = 1 << (BITS - 1); /* to the nearest */
  pixels += (size_t)window->first * step;
  for (int j = 0; j < window->count; ++j)
    sum += (int64_t)pixels[(size_t)j * step] * window->weights[j];
  sum >>= BITS;
  return (uint8_t)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
}

/* One direction: `count` pixels of each of `lines` lines, the pixels `step` bytes apart. A line is
 * `line` bytes after the one before, in the image and, `to_line`, in the result. */
static void resize_lines(const Window* windows, int count, const uint8_t* image, size_t lines,
                         size_t line, size_t step, uint8_t* to, size_t to_line) {
  for (size_t i = 0; i < lines; ++i)
    for (int j = 0; j < count; ++j)
      to[i * to_line + (size_t)j * step] = mean(&windows[j], image + i * line, step);
}

static void resize_columns(const Window* windows, int count, const uint8_t* image, int height,
                           int width, uint8_t* to) {
  for (int y = 0; y < height; ++y)
    resize_lines(windows, count, image + (size_t)y * width * 3, 3, 1, 3,
                 to + (size_t)y * count * 3, 1);
}

static void resize_rows(const Window* windows, int count, const uint8_t* image, int width,
                        uint8_t* to) {
  resize_lines(windows, count, image, (size_t)width * 3, 1, (size_t)width * 3, to, 1);
}

int mambaad_resize(const uint8_t* image, int height, int width, uint8_t* resized, int to_height,
                   int to_width) {
  if (height < 1 || width < 1 || to_height < 1 || to_width < 1) return -1;
  Window* columns = make_windows(width, to_width);
  Window* rows = make_windows(height, to_height);
  /* Pillow starts with the rows of a very high image: it has less to do then. */
  const int is_high = height / 100.0 > width && to_height < height;
  const size_t pixels = is_high ? (size_t)to_height * width : (size_t)height * to_width;
  uint8_t* between = malloc(pixels * 3);
  const int is_ready = columns && rows && between;
  if (is_ready && is_high) {
    resize_rows(rows, to_height, image, width, between);
    resize_columns(columns, to_width, between, to_height, width, resized);
  } else if (is_ready) {
    resize_columns(columns, to_width, image, height, width, between);
    resize_rows(rows, to_height, between, to_width, resized);
  }
  free(between);
  free_windows(columns, to_width);
  free_windows(rows, to_height);
  return is_ready ? 0 : -1;
}
