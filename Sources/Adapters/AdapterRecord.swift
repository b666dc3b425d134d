import CheckpointIO
import Models
import TensorCore

/// What `tspeft.json` holds: everything about an adapter that peft's files have no place for.
///
/// ```
/// {"format": 1, "tspeft": "<version>",
///  "base": {"path": "...", "fingerprint": {...}},
///  "task": {"labels": ["no", "yes"], "problem_type": "single_label_classification"},
///  "modules": ["model.layers.0.self_attn.q_proj", ...],
///  "training": {...}, "history": [...],
///  "statistics": {"source": "dev.json", "tokens": 1234, "modules": [{"module": "...", "tokens": ..., ...}, ...]}}
/// ```
/// Histograms and inner sums lie in `tspeft_statistics.safetensors`.
struct AdapterRecord: Sendable {
    /// The only format so far.
    static let format = 1

    let base: BaseFingerprint?
    let modules: [String]
    let training: JSONValue?
    let history: [JSONValue]
    let task: SequenceTask?
    /// The member `statistics` as it stands.
    private let statisticsJSON: JSONValue?
    private let file: String

    /// Reads the record among `files`; nil where there is none (peft's).
    static func read(in files: AdapterFiles) throws -> AdapterRecord? {
        let name = PEFTNames.recordFile
        guard files.has(name) else { return nil }
        return try AdapterRecord(json: try AdapterDirectory.json(name, in: files), file: files.place(of: name))
    }

    private init(json: JSONValue, file: String) throws {
        func wrong(_ what: String, _ expected: String) -> AdapterError {
            .malformed(file: file, what: what, expected: expected, found: json[what]?.text() ?? "nothing")
        }
        guard let format = json["format"]?.integer(in: .settings) else { throw wrong("format", "a number") }
        guard format == Self.format else {
            throw AdapterError.unsupportedField(
                file: file, field: "format", value: "\(format)", remedy: "use a newer tspeft")
        }
        let modules = json["modules"]?.arrayValue?.compactMap(\.stringValue)
        guard let modules, modules.count == json["modules"]?.arrayValue?.count else {
            throw wrong("modules", "a list of paths")
        }
        self.modules = modules
        base = try Self.base(json["base"]?["fingerprint"], file: file)
        training = json["training"].flatMap { $0.isNull ? nil : $0 }
        history = json["history"]?.arrayValue ?? []
        let task = json["task"].flatMap { $0.isNull ? nil : $0 }
        self.task = task.flatMap(SequenceTask.init(json:))
        if task != nil, self.task == nil { throw wrong("task", "labels and a problem_type") }
        statisticsJSON = json["statistics"].flatMap { $0.isNull ? nil : $0 }
        self.file = file
    }

    private static func base(_ json: JSONValue?, file: String) throws(AdapterError) -> BaseFingerprint? {
        guard let json, !json.isNull else { return nil }
        do {
            return try BaseFingerprint(json: json)
        } catch {
            throw .malformed(file: file, what: "base.fingerprint", expected: "a fingerprint", found: "\(error)")
        }
    }

    /// The record of `adapter`, as text.
    static func text(of adapter: AdapterDirectory) -> String {
        var object = JSONObject()
        object["format"] = .integer(format)
        object["tspeft"] = .string(ToolVersion.current)
        var base = JSONObject()
        base["path"] = adapter.configuration.baseModelPath.map { .string($0) } ?? .null
        base["fingerprint"] = adapter.base?.json ?? .null
        object["base"] = .object(base)
        object["modules"] = .array(adapter.modules.map { .string($0) })
        if let task = adapter.origin.task { object["task"] = task.json }
        object["training"] = adapter.training ?? .null
        object["history"] = .array(adapter.history)
        object["statistics"] = adapter.statistics.map { json(of: $0) } ?? .null
        return JSONValue.object(object).text(indent: 2) + "\n"
    }

    private static func json(of statistics: AdapterStatistics) -> JSONValue {
        .object([
            "source": .string(statistics.source),
            "tokens": .integer(statistics.tokens),
            "modules": .array(statistics.modules.map { json(of: $0) }),
        ])
    }

    private static func json(of entry: ModuleStatistics) -> JSONValue {
        .object([
            "module": .string(entry.module),
            "tokens": .integer(entry.tokens),
            "active": .integer(entry.active),
            "sparsity": .real(entry.sparsity),
            "sum_update_squared": .real(entry.sumUpdateSquared),
            "sum_active_update_squared": .real(entry.sumActiveUpdateSquared),
            "sum_base_squared": .real(entry.sumBaseSquared),
            "sum_ratio": .real(entry.sumRatio),
            "sum_update_norm": .real(entry.sumUpdateNorm),
        ])
    }
}

// MARK: Statistics

extension AdapterRecord {
    /// The statistics, with histograms and inner sums from the file beside the record.
    func statistics(in files: AdapterFiles) throws -> AdapterStatistics? {
        guard let json = statisticsJSON else { return nil }
        guard let source = json["source"]?.stringValue, let entries = json["modules"]?.arrayValue else {
            throw AdapterError.malformed(
                file: file, what: "statistics", expected: "an object with source and modules", found: "another value")
        }
        guard files.has(PEFTNames.statisticsFile) else {
            let path = files.place(of: PEFTNames.statisticsFile)
            throw AdapterError.missingFile(path, remedy: "\(PEFTNames.recordFile) has statistics, which need it")
        }
        let tensors = try files.tensors(PEFTNames.statisticsFile)
        var seen = NameSet()
        let modules = try entries.map { entry in
            let read = try module(entry, tensors)
            guard seen.insert(read.module).inserted else {
                throw AdapterError.malformed(
                    file: file, what: "statistics", expected: "each module once",
                    found: "'\(read.module)' twice")
            }
            return read
        }
        return AdapterStatistics(source: source, modules: modules)
    }

    private func module(_ json: JSONValue, _ tensors: SafetensorsFile) throws -> ModuleStatistics {
        guard let name = json["module"]?.stringValue else {
            throw AdapterError.malformed(
                file: file, what: "statistics", expected: "entries with a module", found: json.text())
        }
        func count(_ key: String) throws(AdapterError) -> Int {
            guard let value = json[key]?.integer(in: .counts) else { throw wrong(key, "a count", json[key]) }
            return value
        }
        func sum(_ key: String) throws(AdapterError) -> Double {
            guard let value = json[key]?.doubleValue, value.isFinite, value >= 0 else {
                throw wrong(key, "a sum of squares or norms", json[key])
            }
            return value
        }
        var entry = ModuleStatistics(module: name)
        entry.tokens = try count("tokens")
        entry.active = try count("active")
        entry.sumUpdateSquared = try sum("sum_update_squared")
        entry.sumActiveUpdateSquared = try sum("sum_active_update_squared")
        entry.sumBaseSquared = try sum("sum_base_squared")
        entry.sumRatio = try sum("sum_ratio")
        entry.sumUpdateNorm = try sum("sum_update_norm")
        guard entry.active <= entry.tokens else { throw wrong("active", "at most tokens", json["active"]) }
        entry.ratioHistogram = try histogram(of: name, tensors)
        entry.innerSums = try sums(of: name, PEFTNames.innerSums, tensors)
        entry.activeInnerSums = try sums(of: name, PEFTNames.activeInnerSums, tensors)
        return entry
    }

    private func wrong(_ what: String, _ expected: String, _ found: JSONValue?) -> AdapterError {
        .malformed(file: file, what: "statistics: \(what)", expected: expected, found: found?.text() ?? "nothing")
    }

    private func histogram(of module: String, _ tensors: SafetensorsFile) throws -> [Int] {
        let record = try tensors.requiredRecord(module + PEFTNames.histogram)
        guard record.shape == [ModuleStatistics.binCount], record.encoding == .plain(.i64) else {
            throw AdapterError.wrongShape(
                file: tensors.path, tensor: record.name, expected: [ModuleStatistics.binCount], found: record.shape)
        }
        let counts = try tensors.withBytes(of: record) { bytes in
            (0..<ModuleStatistics.binCount).map {
                Int(Int64(littleEndian: bytes.loadUnaligned(fromByteOffset: 8 * $0, as: Int64.self)))
            }
        }
        guard counts.allSatisfy(ClosedRange.counts.contains) else {
            throw AdapterError.malformed(
                file: tensors.path, what: "tensor '\(record.name)'", expected: "counts of tokens",
                found: "a number below 0 or too large")
        }
        return counts
    }

    private func sums(of module: String, _ suffix: String, _ tensors: SafetensorsFile) throws -> [Double]? {
        guard let record = tensors.record(module + suffix) else { return nil }
        let isWide = record.encoding == .plain(.f64)
        guard record.shape.count == 2, record.shape[0] == record.shape[1], isWide || record.encoding == .plain(.f32)
        else {
            throw AdapterError.malformed(
                file: tensors.path, what: "tensor '\(record.name)'", expected: "F64 or F32 [rank, rank]",
                found: "\(record.encoding) \(record.shape)")
        }
        if !isWide { return try tensors.floats(of: record).map(Double.init) }
        return try tensors.withBytes(of: record) { bytes in
            (0..<record.elementCount).map {
                Double(bitPattern: UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: 8 * $0, as: UInt64.self)))
            }
        }
    }

    /// The largest rank whose inner sums are written in F64. Beyond it they would fill hundreds of times the file of a
    /// VeRA, so that they are written in F32, which leaves each number seven digits.
    private static let wideSumRank = 128

    /// Writes histograms and inner sums to `file`.
    static func writeStatistics(_ statistics: AdapterStatistics, to file: AtomicFileWriter) throws(CheckpointError) {
        var entries: [SafetensorsEntry] = []
        var contents: [[UInt8]] = []
        func bytes<Word: FixedWidthInteger>(_ words: [Word]) -> [UInt8] { words.withUnsafeBytes { Array($0) } }
        for entry in statistics.modules {
            entries.append(
                SafetensorsEntry(
                    name: entry.module + PEFTNames.histogram, dtype: .i64, shape: [entry.ratioHistogram.count]))
            contents.append(bytes(entry.ratioHistogram.map { UInt64(bitPattern: Int64($0)).littleEndian }))
            for (suffix, sums) in [
                (PEFTNames.innerSums, entry.innerSums), (PEFTNames.activeInnerSums, entry.activeInnerSums),
            ] {
                guard let sums else { continue }
                let rank = Int(Double(sums.count).squareRoot().rounded())
                let isWide = rank <= wideSumRank
                entries.append(
                    SafetensorsEntry(name: entry.module + suffix, dtype: isWide ? .f64 : .f32, shape: [rank, rank]))
                contents.append(
                    isWide
                        ? bytes(sums.map { $0.bitPattern.littleEndian })
                        : bytes(sums.map { Float($0).bitPattern.littleEndian }))
            }
        }
        let writer = try SafetensorsWriter(file, entries: entries, metadata: [])
        for content in contents {
            let outcome = content.withUnsafeBytes { bytes in
                Result { () throws(CheckpointError) in try writer.append(bytes) }
            }
            try outcome.get()
        }
        try writer.finish()
    }
}
