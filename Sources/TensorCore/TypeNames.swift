/// What users call the types of tensors: one table for all commands, so that a name means the same everywhere.
///
/// Names are those of llama.cpp's `llama-quantize` and of PyTorch, in letters of any case.
package enum TypeNames {
    /// Other names of a type: of the plain ones as other programs call them; a family of mixes alone is its medium one,
    /// as `llama-quantize` has it.
    private static let others = [
        "FLOAT32": "F32", "FP32": "F32", "FLOAT": "F32",
        "FLOAT16": "F16", "FP16": "F16", "HALF": "F16",
        "BFLOAT16": "BF16", "BFP16": "BF16",
        "Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M", "MXFP4_MOE": "MXFP4",
    ]

    /// Types of `llama-quantize` of which no file is written here: what llama.cpp makes with an importance matrix, and
    /// formats without an encoder.
    private static let unwritten: Set<String> = [
        "IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "IQ3_XXS", "IQ3_XS", "IQ3_S", "IQ3_M", "IQ4_XS",
        "Q2_K_S", "Q1_0", "Q2_0", "NVFP4", "Q8_1", "Q8_K",
    ]

    /// Words of other programs for leaving types as they are.
    private static let keeping: Set<String> = ["COPY", "AUTO", "KEEP"]

    /// The program's own name for the type that `name` means: `F32` for `float32`, `Q4_K_M` for `q4_k`; other names
    /// in upper case.
    package static func canonical(_ name: String) -> String {
        let upper = name.uppercased()
        return others[upper] ?? upper
    }

    /// Whether `name` is a type that other programs write and this one does not.
    package static func isUnwritten(_ name: String) -> Bool { unwritten.contains(canonical(name)) }

    /// Whether `name` asks for the types to stay, which is what no name at all does.
    package static func meansKept(_ name: String) -> Bool { keeping.contains(canonical(name)) }
}
