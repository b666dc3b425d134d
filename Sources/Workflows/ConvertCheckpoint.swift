import CheckpointIO
import TensorCore
import Transforms

/// What `convert` can write.
public enum ConvertFormat: String, Sendable, CaseIterable {
    /// A directory with `config.json`, tokenizer and safetensors files.
    case huggingFace = "huggingface"
    /// One safetensors file.
    case safetensors
    /// One safetensors file packed by Zstandard.
    case safetensorsZstd = "safetensors.zst"
    /// One GGUF file or its parts.
    case gguf
    /// An adapter's directory.
    case adapter
    /// An adapter in one file.
    case pack

    /// How names of such outputs end; directories have no ending.
    fileprivate var ending: String? {
        switch self {
        case .huggingFace, .adapter: nil
        case .safetensors: ".safetensors"
        case .safetensorsZstd: SafetensorsZstd.suffix
        case .gguf: ".gguf"
        case .pack: FilePack.suffix
        }
    }
}

/// What `convert` is asked to do.
public struct ConvertRequest: Sendable {
    /// A checkpoint, or an adapter.
    public var inputPath: String
    /// Where the result goes: a directory or a file, as the format has it.
    public var outputPath: String
    /// What is written; nil tells it from the output's name.
    public var format: ConvertFormat?
    /// The type of the tensors by name, such as `bf16` or `q4_k_m`; nil keeps each tensor's.
    public var type: String?
    /// Bytes of tensors in one file at most, such as `5GB`; nil is what is usual.
    public var shardSize: String?
    /// Whether an existing output is replaced.
    public var replaces = false
    /// Threads; nil is one a processor.
    public var threadCount: Int?

    /// A request with the program's defaults.
    public init(inputPath: String, outputPath: String) {
        self.inputPath = inputPath
        self.outputPath = outputPath
    }
}

/// What a request comes to, with nothing written yet.
package enum ConversionPlan: Sendable {
    /// A checkpoint's files.
    case checkpoint(CheckpointConversion)
    /// An adapter's directory becomes a pack.
    case packing
    /// A pack becomes an adapter's directory.
    case unpacking
}

/// What a conversion wrote.
package enum ConversionReport: Sendable {
    /// A checkpoint by its plan; of a file that was packed its size in bytes.
    case checkpoint(CheckpointConversion, packedByteCount: Int?)
    /// An adapter in one file.
    case packed(PackReport)
    /// An adapter's directory.
    case unpacked(PackReport)
}

/// Reads a conversion's input and plans it.
///
/// Throws `WorkflowError` for options that contradict each other or the output's name, what `Checkpoint.open` throws,
/// and what `CheckpointConversion` does.
func planConversion(_ request: ConvertRequest, to output: OutputTarget) throws -> ConversionPlan {
    let type = try request.type.map { try namedType($0, for: .tensorType) }
    let limit = try request.shardSize.map(conversionShardSize)
    // Both are Zstandard's files; the name tells them apart.
    let isPack = try FilePack.isPack(request.inputPath) && !request.inputPath.hasSuffix(SafetensorsZstd.suffix)
    let isAdapter = try isPack || isAdapterDirectory(request.inputPath)
    let format = try conversionFormat(request, isAdapter: isAdapter)
    if isAdapter {
        if type != nil || limit != nil {
            throw WorkflowError.conflict(
                "\(.tensorType) and \(.shardSize) are for checkpoints; an adapter is packed as it is")
        }
        switch (format, isPack) {
        case (.pack, false): return .packing
        case (.adapter, true): return .unpacking
        case (.pack, true), (.adapter, false):
            throw WorkflowError.conflict(
                "\(request.inputPath): is \(isPack ? "a pack" : "an adapter's directory") already; cp makes a copy")
        default:
            throw WorkflowError.conflict(
                "\(request.inputPath): is an adapter, which becomes a pack (\(FilePack.suffix)) or a directory here; 'export' "
                    + "writes it for other programs, 'merge' puts it into its base")
        }
    }
    let target: CheckpointConversion.Format
    switch format {
    case .huggingFace: target = .huggingFace
    case .safetensors: target = .safetensors
    case .safetensorsZstd: target = .safetensorsZstd
    case .gguf: target = .gguf
    case .adapter, .pack:
        if pathKind(request.inputPath) == .nothing { throw CheckpointError.nothing(at: request.inputPath) }
        if let remedy = cacheFolderRemedy(request.inputPath) {
            throw WorkflowError.missing(path: request.inputPath, what: "\(remedy)")
        }
        throw WorkflowError.conflict(
            "\(request.inputPath): is no adapter, and '\(request.outputPath)' would hold one")
    }
    if limit != nil, target == .safetensors || target == .safetensorsZstd {
        throw WorkflowError.conflict(
            "\(.shardSize) is for directories and GGUF files; '\(request.outputPath)' is a single safetensors file")
    }
    let checkpoint = try Checkpoint.open(request.inputPath)
    return .checkpoint(
        try CheckpointConversion(
            checkpoint, to: target, at: output, type: type, shardByteLimit: limit))
}

/// Converts a checkpoint or an adapter; `progress` is told bytes written so far, and of all. Throws what planning and
/// writing throw.
package func convertCheckpoint(
    _ request: ConvertRequest, progress: (_ done: Int, _ total: Int) -> Void = { _, _ in }
) throws -> ConversionReport {
    let context = try ComputeOptions(precision: .f32, threadCount: request.threadCount).makeContext()
    let output = request.output()
    switch try planConversion(request, to: output) {
    case .checkpoint(let plan):
        try plan.write(threadCount: context.threadCount, progress: progress)
        let isPacked = plan.format == .safetensorsZstd
        return .checkpoint(
            plan, packedByteCount: isPacked ? try MappedFile.open(output.path).byteCount : nil)
    case .packing:
        return .packed(
            try packAdapter(request.inputPath, to: output, threadCount: context.threadCount))
    case .unpacking:
        return .unpacked(
            try unpackAdapter(request.inputPath, to: output, threadCount: context.threadCount))
    }
}

/// Whether a directory holds an adapter and no model.
private func isAdapterDirectory(_ path: String) throws(CheckpointError) -> Bool {
    guard try checkedPathKind(path) == .directory else { return false }
    let names = try readDirectory(path)
    return names.contains("adapter_config.json")
        && !names.contains { $0.hasPrefix("model") && ($0.hasSuffix(".safetensors") || $0.hasSuffix(".zst")) }
}

/// The format that is asked for, or else the one that the output's name ends as.
private func conversionFormat(
    _ request: ConvertRequest, isAdapter: Bool
) throws(WorkflowError) -> ConvertFormat {
    let path = request.outputPath
    try refuseOtherEnding(
        of: path, files: ConvertFormat.allCases.compactMap(\.ending).joined(separator: ", "))
    let named = ConvertFormat.allCases.first { $0.ending.map(path.hasSuffix) ?? false }
    if named == nil, path.hasSuffix(".zst") {
        throw .conflict("'\(path)': names of packed files end in \(SafetensorsZstd.suffix) or \(FilePack.suffix)")
    }
    guard let asked = request.format else { return named ?? (isAdapter ? .adapter : .huggingFace) }
    if asked.ending == named?.ending { return asked }
    if let ending = asked.ending {
        throw .conflict(
            "\(.format, asked.rawValue) writes a file whose name ends in \(ending), which '\(path)' does not")
    }
    throw .conflict("\(.format, asked.rawValue) writes a directory, but '\(path)' ends as a file does")
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
        throw .badValue(.shardSize, expected: "a size such as 5GB, 500MB or 2GiB", found: "'\(text)'")
    }
    return Int(value * Double(unit.1))
}
