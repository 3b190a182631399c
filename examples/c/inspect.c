/* Inspects an image with an exported model, without Python:
 *
 *     inspect EXPORT LIBRARY IMAGE.ppm HEIGHT WIDTH REVIEW FAIL
 *
 * EXPORT: the folder that `mambaad export --to onnx` wrote. LIBRARY: libmambaad_onnxruntime.so, or
 * "-" to run the scan by its definition in the graph, several times slower. IMAGE.ppm: a binary PPM
 * of 8 bits. HEIGHT, WIDTH: those of "preprocessing" in EXPORT/export.json. REVIEW, FAIL: those of
 * the image's class in its "thresholds"; a score above one is its verdict.
 *
 * Prints the score, the verdict, and the largest value of the anomaly map and where it is, at the
 * model's size. Exit code 1 for an error, which is one line.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__has_include)
#if __has_include(<onnxruntime_c_api.h>)
#include <onnxruntime_c_api.h>
#define HAS_HEADER
#endif
#endif
#if !defined(HAS_HEADER)
#include "../../native/onnxruntime_api.h"
#endif

#include "resize.h"

static const OrtApi* api;

static void fail(const char* what, const char* why) {
  fprintf(stderr, "inspect: %s%s", what, why ? ": " : "");
  for (; why && *why; ++why) fputc(*why == '\n' ? ' ' : *why, stderr); /* in one line */
  fputc('\n', stderr);
  exit(1);
}

static void check(OrtStatus* status) {
  if (status) fail("onnxruntime", api->GetErrorMessage(status));
}

static int read_number(FILE* file) { /* of a PPM's head, after its comments */
  int c = fgetc(file), number = -1;
  while (c == ' ' || c == '\n' || c == '\r' || c == '\t' || c == '#') {
    if (c == '#')
      while (c != '\n' && c != EOF) c = fgetc(file);
    c = fgetc(file);
  }
  for (; c >= '0' && c <= '9' && number < 100000; c = fgetc(file))
    number = (number < 0 ? 0 : number) * 10 + (c - '0');
  return number;
}

static uint8_t* read_image(const char* path, int* height, int* width) {
  FILE* file = fopen(path, "rb");
  if (!file) fail(path, "cannot be opened");
  const int is_ppm = fgetc(file) == 'P' && fgetc(file) == '6';
  *width = read_number(file);
  *height = read_number(file);
  if (!is_ppm || *width < 1 || *height < 1 || read_number(file) != 255)
    fail(path, "expected a binary PPM (P6) of 8 bits");
  const size_t bytes = (size_t)*height * *width * 3;
  uint8_t* pixels = malloc(bytes);
  if (!pixels || fread(pixels, 1, bytes, file) != bytes) fail(path, "ends too early");
  fclose(file);
  return pixels;
}

int main(int count, char** arguments) {
  if (count != 8)
    fail("usage: inspect EXPORT LIBRARY IMAGE.ppm HEIGHT WIDTH REVIEW FAIL", NULL);
  const char *folder = arguments[1], *library = arguments[2];
  const int to_height = atoi(arguments[4]), to_width = atoi(arguments[5]);
  const double review = atof(arguments[6]), reject = atof(arguments[7]);

  int height, width;
  uint8_t* image = read_image(arguments[3], &height, &width);
  const size_t bytes = (size_t)(to_height > 0 ? to_height : 0) * (to_width > 0 ? to_width : 0) * 3;
  uint8_t* resized = malloc(bytes ? bytes : 1);
  if (!resized || mambaad_resize(image, height, width, resized, to_height, to_width))
    fail("HEIGHT, WIDTH", "expected those of \"preprocessing\" in export.json");

  api = OrtGetApiBase()->GetApi(ORT_API_VERSION);
  if (!api) fail("onnxruntime is older than the headers", OrtGetApiBase()->GetVersionString());
  OrtEnv* environment;
  OrtSessionOptions* options;
  check(api->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "inspect", &environment));
  check(api->CreateSessionOptions(&options));
  check(api->SetIntraOpNumThreads(options, 0)); /* 0: all cores */
  void* handle = NULL;
  if (strcmp(library, "-") != 0)
    check(api->RegisterCustomOpsLibrary(options, library, &handle));
  char path[4096];
  if (snprintf(path, sizeof path, "%s/model.onnx", folder) >= (int)sizeof path)
    fail(folder, "is too long");
  OrtSession* session;
  check(api->CreateSession(environment, path, options, &session));

  OrtMemoryInfo* memory;
  check(api->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory));
  const int64_t shape[] = {1, to_height, to_width, 3};
  OrtValue *input, *outputs[2] = {NULL, NULL};
  check(api->CreateTensorWithDataAsOrtValue(memory, resized, bytes, shape, 4,
                                            ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, &input));
  const char *input_names[] = {"images"}, *output_names[] = {"score", "anomaly_map"};
  const OrtValue* inputs[] = {input};
  check(api->Run(session, NULL, input_names, inputs, 1, output_names, 2, outputs));
  float *score, *map;
  check(api->GetTensorMutableData(outputs[0], (void**)&score));
  check(api->GetTensorMutableData(outputs[1], (void**)&map));

  int64_t peak = 0;
  for (int64_t i = 1; i < (int64_t)to_height * to_width; ++i)
    if (map[i] > map[peak]) peak = i;
  printf("score %.9g\nverdict %s\npeak %.9g at row %d, column %d\n", score[0],
         score[0] <= review ? "PASS" : score[0] <= reject ? "REVIEW" : "FAIL", map[peak],
         (int)(peak / to_width), (int)(peak % to_width));

  for (int i = 0; i < 2; ++i) api->ReleaseValue(outputs[i]);
  api->ReleaseValue(input);
  api->ReleaseMemoryInfo(memory);
  api->ReleaseSession(session);
  api->ReleaseSessionOptions(options);
  api->ReleaseEnv(environment);
  free(image);
  free(resized);
  return 0;
}
