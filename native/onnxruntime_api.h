/* The part of onnxruntime's C API that this project uses, in C and C++.
 *
 * onnxruntime's Python package has no headers, so what is used is declared here, under the names
 * of onnxruntime_c_api.h and in its layout. Where that header is at hand it serves as well: a
 * source that includes this file compiles with either.
 *
 * Version 17 of the API is asked for: the first that lends a session's threads to an operator
 * (KernelContext_ParallelFor) and passes shapes on (ShapeInferContext_*). onnxruntime only ever
 * appends to OrtApi, so every onnxruntime from 1.17 on answers to it. The places of the functions
 * are those of its table ort_api_1_to_N, counted from 0; onnxruntime's own sources assert that
 * ReleaseCustomOpDomain, the last of version 1, is at 101, KernelContext_GetResource, the last of
 * version 16, at 265, and SessionOptionsAppendExecutionProvider_OpenVINO_V2, the last of version
 * 17, at 275. tests/inference/test_operator_library.py and tests/examples/test_c.py run every
 * function declared here with the newest onnxruntime, the former with the oldest as well.
 */
#ifndef MAMBAAD_ONNXRUNTIME_API_H
#define MAMBAAD_ONNXRUNTIME_API_H

#include <stddef.h>
#include <stdint.h>

#define ORT_API_VERSION 17

#if defined(_WIN32)
#define ORT_API_CALL __stdcall
typedef wchar_t ORTCHAR_T;
#else
#define ORT_API_CALL
typedef char ORTCHAR_T;
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef struct OrtStatus OrtStatus;
typedef struct OrtEnv OrtEnv;
typedef struct OrtSession OrtSession;
typedef struct OrtSessionOptions OrtSessionOptions;
typedef struct OrtRunOptions OrtRunOptions;
typedef struct OrtValue OrtValue;
typedef struct OrtMemoryInfo OrtMemoryInfo;
typedef struct OrtCustomOpDomain OrtCustomOpDomain;
typedef struct OrtKernelInfo OrtKernelInfo;
typedef struct OrtKernelContext OrtKernelContext;
typedef struct OrtShapeInferContext OrtShapeInferContext;
typedef struct OrtTensorTypeAndShapeInfo OrtTensorTypeAndShapeInfo;
typedef struct OrtCustomOp OrtCustomOp;
typedef OrtStatus* OrtStatusPtr; /* null: success */

typedef enum { ORT_OK, ORT_FAIL, ORT_INVALID_ARGUMENT } OrtErrorCode;
typedef enum { ORT_LOGGING_LEVEL_WARNING = 2, ORT_LOGGING_LEVEL_ERROR = 3 } OrtLoggingLevel;
typedef enum { OrtArenaAllocator = 1 } OrtAllocatorType;
typedef enum { OrtMemTypeDefault = 0 } OrtMemType;
typedef enum { INPUT_OUTPUT_REQUIRED } OrtCustomOpInputOutputCharacteristic;
typedef enum {
  ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT = 1,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8 = 2,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32 = 6
} ONNXTensorElementDataType;

typedef struct OrtApi {
  OrtStatusPtr(ORT_API_CALL* CreateStatus)(OrtErrorCode, const char* message); /* 0 */
  void* skipped_1;
  const char*(ORT_API_CALL* GetErrorMessage)(const OrtStatus*); /* 2 */
  OrtStatusPtr(ORT_API_CALL* CreateEnv)(OrtLoggingLevel, const char* log_id, OrtEnv**); /* 3 */
  void* skipped_4[3];
  OrtStatusPtr(ORT_API_CALL* CreateSession)(const OrtEnv*, const ORTCHAR_T* path,
                                            const OrtSessionOptions*, OrtSession**); /* 7 */
  void* skipped_8;
  OrtStatusPtr(ORT_API_CALL* Run)(OrtSession*, const OrtRunOptions*, const char* const* inputs,
                                  const OrtValue* const*, size_t, const char* const* outputs,
                                  size_t, OrtValue**); /* 9 */
  OrtStatusPtr(ORT_API_CALL* CreateSessionOptions)(OrtSessionOptions**); /* 10 */
  void* skipped_11[13];
  OrtStatusPtr(ORT_API_CALL* SetIntraOpNumThreads)(OrtSessionOptions*, int); /* 24 */
  void* skipped_25;
  OrtStatusPtr(ORT_API_CALL* CreateCustomOpDomain)(const char* name,
                                                   OrtCustomOpDomain**); /* 26 */
  OrtStatusPtr(ORT_API_CALL* CustomOpDomain_Add)(OrtCustomOpDomain*, const OrtCustomOp*); /* 27 */
  OrtStatusPtr(ORT_API_CALL* AddCustomOpDomain)(OrtSessionOptions*, OrtCustomOpDomain*); /* 28 */
  OrtStatusPtr(ORT_API_CALL* RegisterCustomOpsLibrary)(OrtSessionOptions*, const char* path,
                                                       void** handle); /* 29 */
  void* skipped_30[19];
  OrtStatusPtr(ORT_API_CALL* CreateTensorWithDataAsOrtValue)(
      const OrtMemoryInfo*, void* data, size_t bytes, const int64_t* shape, size_t dimensions,
      ONNXTensorElementDataType, OrtValue**); /* 49 */
  void* skipped_50;
  OrtStatusPtr(ORT_API_CALL* GetTensorMutableData)(OrtValue*, void** data); /* 51 */
  void* skipped_52[9];
  OrtStatusPtr(ORT_API_CALL* GetDimensionsCount)(const OrtTensorTypeAndShapeInfo*,
                                                 size_t*); /* 61 */
  OrtStatusPtr(ORT_API_CALL* GetDimensions)(const OrtTensorTypeAndShapeInfo*, int64_t*,
                                            size_t); /* 62 */
  OrtStatusPtr(ORT_API_CALL* GetSymbolicDimensions)(const OrtTensorTypeAndShapeInfo*,
                                                    const char* names[], size_t); /* 63 */
  void* skipped_64;
  OrtStatusPtr(ORT_API_CALL* GetTensorTypeAndShape)(const OrtValue*,
                                                    OrtTensorTypeAndShapeInfo**); /* 65 */
  void* skipped_66[3];
  OrtStatusPtr(ORT_API_CALL* CreateCpuMemoryInfo)(OrtAllocatorType, OrtMemType,
                                                  OrtMemoryInfo**); /* 69 */
  void* skipped_70[20];
  OrtStatusPtr(ORT_API_CALL* KernelContext_GetInput)(const OrtKernelContext*, size_t,
                                                     const OrtValue**); /* 90 */
  OrtStatusPtr(ORT_API_CALL* KernelContext_GetOutput)(OrtKernelContext*, size_t,
                                                      const int64_t* shape, size_t dimensions,
                                                      OrtValue**); /* 91 */
  void(ORT_API_CALL* ReleaseEnv)(OrtEnv*);               /* 92 */
  void(ORT_API_CALL* ReleaseStatus)(OrtStatus*);         /* 93 */
  void(ORT_API_CALL* ReleaseMemoryInfo)(OrtMemoryInfo*); /* 94 */
  void(ORT_API_CALL* ReleaseSession)(OrtSession*);       /* 95 */
  void(ORT_API_CALL* ReleaseValue)(OrtValue*);           /* 96 */
  void* skipped_97[2];
  void(ORT_API_CALL* ReleaseTensorTypeAndShapeInfo)(OrtTensorTypeAndShapeInfo*); /* 99 */
  void(ORT_API_CALL* ReleaseSessionOptions)(OrtSessionOptions*);                 /* 100 */
  void(ORT_API_CALL* ReleaseCustomOpDomain)(OrtCustomOpDomain*);                 /* 101 */
  void* skipped_102[166];
  OrtStatusPtr(ORT_API_CALL* ShapeInferContext_GetInputTypeShape)(
      const OrtShapeInferContext*, size_t, OrtTensorTypeAndShapeInfo**); /* 268 */
  void* skipped_269;
  OrtStatusPtr(ORT_API_CALL* ShapeInferContext_SetOutputTypeShape)(
      const OrtShapeInferContext*, size_t, const OrtTensorTypeAndShapeInfo*); /* 270 */
  void* skipped_271[3];
  OrtStatusPtr(ORT_API_CALL* KernelContext_ParallelFor)(const OrtKernelContext*,
                                                        void (*task)(void*, size_t), size_t count,
                                                        size_t batches, void* data); /* 274 */
} OrtApi;

typedef struct OrtApiBase {
  const OrtApi*(ORT_API_CALL* GetApi)(uint32_t version); /* null: not that version */
  const char*(ORT_API_CALL* GetVersionString)(void);
} OrtApiBase;

const OrtApiBase* ORT_API_CALL OrtGetApiBase(void);

/* An operator, as version 17 reads it: later versions append to it too. */
struct OrtCustomOp {
  uint32_t version;
  void*(ORT_API_CALL* CreateKernel)(const OrtCustomOp*, const OrtApi*, const OrtKernelInfo*);
  const char*(ORT_API_CALL* GetName)(const OrtCustomOp*);
  const char*(ORT_API_CALL* GetExecutionProviderType)(const OrtCustomOp*); /* null: the CPU's */
  ONNXTensorElementDataType(ORT_API_CALL* GetInputType)(const OrtCustomOp*, size_t);
  size_t(ORT_API_CALL* GetInputTypeCount)(const OrtCustomOp*);
  ONNXTensorElementDataType(ORT_API_CALL* GetOutputType)(const OrtCustomOp*, size_t);
  size_t(ORT_API_CALL* GetOutputTypeCount)(const OrtCustomOp*);
  void(ORT_API_CALL* KernelCompute)(void* kernel, OrtKernelContext*);
  void(ORT_API_CALL* KernelDestroy)(void* kernel);
  OrtCustomOpInputOutputCharacteristic(ORT_API_CALL* GetInputCharacteristic)(const OrtCustomOp*,
                                                                             size_t);
  OrtCustomOpInputOutputCharacteristic(ORT_API_CALL* GetOutputCharacteristic)(const OrtCustomOp*,
                                                                              size_t);
  OrtMemType(ORT_API_CALL* GetInputMemoryType)(const OrtCustomOp*, size_t);
  int(ORT_API_CALL* GetVariadicInputMinArity)(const OrtCustomOp*);
  int(ORT_API_CALL* GetVariadicInputHomogeneity)(const OrtCustomOp*);
  int(ORT_API_CALL* GetVariadicOutputMinArity)(const OrtCustomOp*);
  int(ORT_API_CALL* GetVariadicOutputHomogeneity)(const OrtCustomOp*);
  OrtStatusPtr(ORT_API_CALL* CreateKernelV2)(const OrtCustomOp*, const OrtApi*,
                                             const OrtKernelInfo*, void** kernel);
  OrtStatusPtr(ORT_API_CALL* KernelComputeV2)(void* kernel, OrtKernelContext*);
  OrtStatusPtr(ORT_API_CALL* InferOutputShapeFn)(const OrtCustomOp*, OrtShapeInferContext*);
  int(ORT_API_CALL* GetStartVersion)(const OrtCustomOp*);
  int(ORT_API_CALL* GetEndVersion)(const OrtCustomOp*);
};

#ifdef __cplusplus
}

#define MAMBAAD_AT(name, place) \
  static_assert(offsetof(OrtApi, name) == place * sizeof(void*), "OrtApi is laid out wrongly")
MAMBAAD_AT(CreateSessionOptions, 10);
MAMBAAD_AT(SetIntraOpNumThreads, 24);
MAMBAAD_AT(RegisterCustomOpsLibrary, 29);
MAMBAAD_AT(GetTensorMutableData, 51);
MAMBAAD_AT(GetSymbolicDimensions, 63);
MAMBAAD_AT(GetTensorTypeAndShape, 65);
MAMBAAD_AT(CreateCpuMemoryInfo, 69);
MAMBAAD_AT(ReleaseCustomOpDomain, 101);
MAMBAAD_AT(ShapeInferContext_SetOutputTypeShape, 270);
MAMBAAD_AT(KernelContext_ParallelFor, 274);
#undef MAMBAAD_AT
#endif

#endif /* MAMBAAD_ONNXRUNTIME_API_H */
