// Inspects an image with an exported model, as ../c/inspect.c does:
//
//     dotnet run -- EXPORT LIBRARY IMAGE.rgb HEIGHT WIDTH REVIEW FAIL
//
// EXPORT: the folder that `mambaad export --to onnx` wrote. LIBRARY: libmambaad_onnxruntime.so, or
// "-" to run the scan by its definition in the graph, several times slower. IMAGE.rgb: the pixels
// of the image, 8-bit RGB row by row, already resized to HEIGHT x WIDTH as Pillow does (see
// ../c/resize.c and its test vectors). REVIEW, FAIL: the thresholds of the image's class in
// EXPORT/export.json.
using System;
using System.IO;
using System.Linq;
using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;

if (args.Length != 7)
{
    Console.Error.WriteLine(
        "usage: inspect EXPORT LIBRARY IMAGE.rgb HEIGHT WIDTH REVIEW FAIL");
    return 2;
}
var invariant = System.Globalization.CultureInfo.InvariantCulture;
int height = int.Parse(args[3], invariant), width = int.Parse(args[4], invariant);
double review = double.Parse(args[5], invariant), reject = double.Parse(args[6], invariant);

try
{
    byte[] pixels = File.ReadAllBytes(args[2]);
    if (pixels.Length != height * width * 3)
        throw new InvalidDataException(
            $"{args[2]} has {pixels.Length} bytes, expected {height} x {width} x 3");
    using var options = new SessionOptions();
    if (args[1] != "-")
        options.RegisterCustomOpLibrary(args[1]);
    using var session = new InferenceSession(Path.Combine(args[0], "model.onnx"), options);
    var image = new DenseTensor<byte>(pixels, new[] { 1, height, width, 3 });
    using var results = session.Run(
        new[] { NamedOnnxValue.CreateFromTensor("images", image) },
        new[] { "score", "anomaly_map" });
    float score = results.First(r => r.Name == "score").AsTensor<float>().First();
    float peak = results.First(r => r.Name == "anomaly_map").AsTensor<float>().Max();
    string verdict = score <= review ? "PASS" : score <= reject ? "REVIEW" : "FAIL";
    Console.WriteLine(FormattableString.Invariant($"score {score:G9}"));
    Console.WriteLine($"verdict {verdict}");
    Console.WriteLine(FormattableString.Invariant($"peak {peak:G9}"));
    return 0;
}
catch (Exception error) when (error is OnnxRuntimeException or IOException or InvalidDataException)
{
    Console.Error.WriteLine($"inspect: {error.Message}");
    return 1;
}
