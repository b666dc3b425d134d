import CheckpointIO
import TensorCore
import Transforms

/// What `convert` is asked to do.
package struct ConvertRequest: Sendable {
    /// A checkpoint.
    package var inputPath: String
    /// Where the result goes: a directory or a file, as the format has it.
    package var outputPath: String
    /// What is written; nil tells it from the output's name.
    package var format: CheckpointConversion.Format?
    /// The type of the tensors by name, such as `bf16` or `q4_k_m`; nil keeps each tensor's.
    package var type: String?
    /// Bytes of tensors in one file at most, such as `5GB`; nil is what is usual.
    package var shardSize: String?
    /// Whether an existing output is replaced.
    package var replaces = false
    /// Threads; nil is one a processor.
    package var threadCount: Int?

    /// A request with the program's defaults.
    package init(inputPath: String, outputPath: String) {
        self.inputPath = inputPath
        self.outputPath = outputPath
    }
}

/// Reads a conversion's input and plans it, with nothing written yet.
///
/// Throws `WorkflowError` for options that contradict each other or the output's name, what `Checkpoint.open` throws, and
/// what `CheckpointConversion` does.
package func planConversion(_ request: ConvertRequest) throws -> CheckpointConversion {
    let type = try request.type.map(conversionType)
    let limit = try request.shardSize.map(conversionShardSize)
    let format = try conversionFormat(request)
    let checkpoint = try Checkpoint.open(request.inputPath)
    if limit != nil, format == .safetensors {
        throw WorkflowError.conflict(
            "--max-shard-size is for directories and GGUF files; '\(request.outputPath)' is a single safetensors file")
    }
    return try CheckpointConversion(
        checkpoint, to: format, at: request.outputPath, type: type, shardByteLimit: limit)
}

/// Converts a checkpoint; `progress` is told bytes written so far, and of all. Throws what planning and writing throw.
package func convertCheckpoint(
    _ request: ConvertRequest, progress: (_ done: Int, _ total: Int) -> Void = { _, _ in }
) throws -> CheckpointConversion {
    let context = try ComputeOptions(precision: .f32, threadCount: request.threadCount).makeContext()
    let plan = try planConversion(request)
    try plan.write(replacing: request.replaces, threadCount: context.threadCount, progress: progress)
    return plan
}

/// The format that is asked for, or else the one that the output's name ends as.
private func conversionFormat(_ request: ConvertRequest) throws(WorkflowError) -> CheckpointConversion.Format {
    let path = request.outputPath
    let named: CheckpointConversion.Format =
        path.hasSuffix(".gguf") ? .gguf : path.hasSuffix(".safetensors") ? .safetensors : .huggingFace
    guard let asked = request.format, asked != named else { return named }
    let what =
        switch asked {
        case .huggingFace: "writes a directory, but '\(path)' ends as a file does"
        case .safetensors: "writes a file whose name ends in .safetensors, which '\(path)' does not"
        case .gguf: "writes a file whose name ends in .gguf, which '\(path)' does not"
        }
    throw .conflict("--to \(asked.rawValue) \(what)")
}

/// The type called `name`.
private func conversionType(_ name: String) throws(WorkflowError) -> QuantizationMix {
    if let mix = QuantizationMix(named: name) { return mix }
    let known = QuantizationMix.all.map { $0.name.lowercased() }.joined(separator: ", ")
    let upper = name.uppercased()
    let isReadOnly = GGMLBlockFormat.known.contains { $0.name == upper } || upper.hasPrefix("IQ") || upper == "Q2_K_S"
    guard !isReadOnly else {
        throw .unsupported("--type \(name): tspeft reads such tensors, but writes none; it writes \(known)")
    }
    throw .badOption(name: "--type", expected: "one of \(known)", found: "'\(name)'")
}

/// A size such as `5GB`, `500M` or `2GiB` in bytes: decimal units as transformers and llama.cpp take them, and binary
/// ones.
func conversionShardSize(_ text: String) throws(WorkflowError) -> Int {
    let units: [(String, Int)] = [
        ("kib", 1 << 10), ("mib", 1 << 20), ("gib", 1 << 30), ("tib", 1 << 40), ("kb", 1_000), ("mb", 1_000_000),
        ("gb", 1_000_000_000), ("tb", 1_000_000_000_000), ("k", 1_000), ("m", 1_000_000), ("g", 1_000_000_000),
        ("t", 1_000_000_000_000), ("b", 1), ("", 1),
    ]
    let lower = text.lowercased()
    let unit = units.first { lower.hasSuffix($0.0) }!
    let number = lower.dropLast(unit.0.count)
    let isNumber = !number.isEmpty && number.allSatisfy { $0.isASCII && ($0.isNumber || $0 == ".") }
    guard isNumber, let value = Double(number), value * Double(unit.1) >= 1, value * Double(unit.1) < 0x1p62 else {
        throw .badOption(name: "--max-shard-size", expected: "a size such as 5GB, 500MB or 2GiB", found: "'\(text)'")
    }
    return Int(value * Double(unit.1))
}
