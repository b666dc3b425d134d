import Adapters
import CheckpointIO
import Models
import Transforms

/// What `export` is asked to do.
public struct ExportRequest: Sendable {
    /// The adapter.
    public var adapterPath: String
    /// For which program.
    public var format: Format
    /// Where the export goes: a file for GGUF, a directory for the others.
    public var outputPath: String
    /// The base; nil is the one that the adapter names, where the export needs it.
    public var basePath: String?
    /// What becomes of the gates; nil where nobody said.
    public var gates: Gates?
    /// Whether peft is to get a LoRA whatever the method.
    public var asLoRA = false
    /// Whether an existing output is replaced.
    public var replaces = false

    /// A request with the program's defaults.
    public init(adapterPath: String, format: Format, outputPath: String) {
        self.adapterPath = adapterPath
        self.format = format
        self.outputPath = outputPath
    }
}

/// Writes an adapter for another program.
///
/// Throws what reading adapter and base throws, `TransformError.outputIsInput`, `WorkflowError.conflict` for options
/// that do not belong to the format, `WorkflowError.missing` where the base is needed and not found, and what
/// `AdapterExport` throws.
package func exportAdapter(_ request: ExportRequest) throws -> ExportReport {
    try exportAdapter(request, to: request.output()).report
}

/// The report, and the base where one was opened.
func exportAdapter(
    _ request: ExportRequest, to output: OutputTarget
) throws -> (report: ExportReport, base: ModelCheckpoint?) {
    if request.format == .torch, request.gates != nil {
        throw WorkflowError.conflict("\(.gates) is for formats without gates; an export to torch keeps them")
    }
    if request.format != .peft, request.asLoRA {
        throw WorkflowError.conflict(
            "\(.asLoRA) is for \(.format, "peft"); \(request.format.rawValue) has no other form")
    }
    let adapter = try AdapterDirectory.read(request.adapterPath)
    let base = try base(for: request, adapter)
    let inputs = [request.adapterPath] + [base?.checkpoint.path].compactMap { $0 }
    try checkOutput(output.path, keeps: inputs)
    let export = try AdapterExport(
        adapter, to: request.format.table, gates: request.gates?.rule, base: base, asLoRA: request.asLoRA)
    let report = try export.write(to: output)
    return (report, base)
}

/// The base that was given, or else the one that the adapter names: if the format cannot do without, or if it is there
/// and only a base tells whether the adapter can be exported.
private func base(for request: ExportRequest, _ adapter: AdapterDirectory) throws -> ModelCheckpoint? {
    let path: String
    if let given = request.basePath {
        path = given
    } else {
        let isNeeded = request.format.table.needsBase || request.asLoRA
        guard isNeeded || AdapterExport.asksForBase(adapter, to: request.format.table) else { return nil }
        guard let named = adapter.configuration.baseModelPath, pathKind(named) != .nothing else {
            guard isNeeded else { return nil }
            let what = adapter.configuration.baseModelPath.map { "its base '\($0)' is not there" } ?? "it names no base"
            throw WorkflowError.missing(
                path: request.adapterPath,
                what: "\(what), which an export to \(request.format.rawValue) needs; give \(.base)")
        }
        path = named
    }
    let base = try ModelCheckpoint.open(path)
    try adapter.check(base: try base.fingerprint(), basePath: path)
    return base
}
