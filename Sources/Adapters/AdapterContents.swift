import CheckpointIO
import TensorCore
import Threads

/// The tensors of an adapter's file by what they are, without their values.
struct AdapterContents {
    private typealias Record = (key: AdapterKey, record: TensorRecord)

    /// The method's tensors, those shared and those of `modules_to_save`, by the keys that we write.
    private(set) var tensors: [(name: String, place: Int)] = []
    /// The gates' thresholds, by module.
    private(set) var thresholds: NameTable<TensorRecord> = [:]
    private var attentionOutputs: NameSet = []
    private var updates: NameTable<NameTable<TensorRecord>> = [:]
    private var updateOrder: [String] = []
    /// The modules that have linear updates.
    private(set) var modules: NameSet = []
    private var values: [Record] = []
    private var originals: [Record] = []
    private var rows: [Record] = []
    private var integers: [Record] = []
    private let file: SafetensorsFile
    private let suffixes: [String]
    private let settings: (any LowRankSettings)?
    private let parameters: ParameterTargets
    private let takesExtras: Bool
    private let isGated: Bool

    /// The shapes of the method's tensors.
    var shapes: NameTable<[Int]> {
        NameTable(
            tensors.lazy.map { [file] in ($0.name, file.tensors[$0.place].shape) },
            uniquingKeysWith: { first, _ in first })
    }

    /// Sorts the tensors of `file`. Throws `AdapterError.unsupportedTensor` for one that no adapter of this kind has,
    /// `.unknownTensor` for one that is there twice, `.wrongShape` for a threshold that is no number.
    ///
    /// - Parameter takingExtras: whether what can be merged alone is taken.
    init(
        _ file: SafetensorsFile, _ configuration: AdapterConfiguration, takingExtras: Bool
    ) throws(AdapterError) {
        self.file = file
        suffixes = configuration.tensorSuffixes
        takesExtras = takingExtras
        isGated = configuration.isGated
        let takesParameters = takingExtras || !configuration.targetParameters.isEmpty
        settings = takesParameters ? configuration.settings as? any LowRankSettings : nil
        let records = file.tensors
        let keys = ThreadTeam.whole.map(records.count, grain: Self.keysOfAPart) { place in
            let name = records[place].name
            let key = AdapterKey(name)
            let written = key.written
            // One text for both, of which there may be many thousand.
            return (key: key, written: written.hasSameBytes(as: name) ? name : written)
        }
        parameters = ParameterTargets(
            takesParameters ? configuration.otherFields : [:],
            packed: Self.packed(records, keys.lazy.map(\.key), settings)
        )
        let shared = NameSet(configuration.kind.method.sharedRoles.map(\.suffix))
        var places: NameTable<TensorRecord> = [:]
        var updated: NameSet = []
        var convolutions: NameSet = []
        for (record, key) in zip(records, keys) where settings != nil && record.shape.count > 2 {
            convolutions.insert(key.key.path)
        }
        for (place, (record, (key, written))) in zip(records, keys).enumerated() {
            let isInteger = takingExtras && key.isOfModel && record.encoding.holdsIntegers
            guard record.encoding.holdsReals || isInteger else {
                throw .unsupportedTensor(
                    file: file.path, tensor: record.name, reason: "is stored as \(record.encoding), not as real numbers"
                )
            }
            if !shared.isEmpty, let key = Self.shared(record.name, shared) {
                try Self.add(key, record, to: &places, file.path)
                tensors.append((key, place))
                continue
            }
            if case .value = key.part, try isSecondCopy(record, places[written]) { continue }
            try Self.add(written, record, to: &places, file.path)
            switch key.part {
            case .value where isInteger, .original where isInteger: integers.append((key, record))
            case .factor(PEFTNames.tau) where parameters.have(key.path) && settings != nil:
                updates[key.path, default: [:]][PEFTNames.tau] = record
            case .factor(PEFTNames.tau):
                guard record.shape == [1] || record.shape.isEmpty else {
                    throw .wrongShape(file: file.path, tensor: record.name, expected: [1], found: record.shape)
                }
                thresholds[key.path] = record
            case .factor(let suffix) where isExtra(key, suffix, convolutions):
                if updated.insert(key.path).inserted { updateOrder.append(key.path) }
                updates[key.path, default: [:]][suffix] = record
            case .factor(let suffix) where suffixes.contains(suffix):
                tensors.append((written, place))
                if !key.path.isEmpty { modules.insert(key.path) }
                if takingExtras, key.isAttentionOutput { attentionOutputs.insert(key.path) }
            case .value where configuration.savesModule(ofKey: written): tensors.append((written, place))
            case .value where takingExtras: values.append((key, record))
            case .original where takingExtras: originals.append((key, record))
            case .tokenRows where takingExtras: rows.append((key, record))
            default:
                let expected = suffixes.map { "'\(PEFTNames.prefix)<module>\($0)'" }.joined(separator: " or ")
                throw .unsupportedTensor(
                    file: file.path, tensor: record.name,
                    reason: "is not a tensor of the method \(configuration.kind), whose keys are \(expected)")
            }
        }
    }

    /// Keys that a thread takes at a time.
    private static let keysOfAPart = 256

    /// The modules whose A has a multiple of the configured rank as rows, as packed parameters have it.
    private static func packed(
        _ records: [TensorRecord], _ keys: some Sequence<AdapterKey>, _ settings: (any LowRankSettings)?
    ) -> NameSet {
        guard let settings else { return [] }
        return NameSet(
            zip(records, keys).compactMap { record, key in
                guard key.part == .factor(suffix: PEFTNames.loraA), let rows = record.shape.first else { return nil }
                let rank = max(1, settings.numbers.rank(for: key.path))
                return rows > rank && rows % rank == 0 ? key.path : nil
            })
    }

    /// The key of a tensor that all modules share; a raw state dict has the adapter's name behind it.
    private static func shared(_ name: String, _ shared: NameSet) -> String? {
        if shared.contains(name) { return name }
        let bare = name.split(separator: ".").dropLast().joined(separator: ".")
        return shared.contains(bare) ? bare : nil
    }

    private static func add(
        _ key: String, _ record: TensorRecord, to places: inout NameTable<TensorRecord>, _ file: String
    ) throws(AdapterError) {
        guard places.updateValue(record, forKey: key) == nil else {
            throw .unknownTensor(
                file: file, tensor: record.name, reason: "is there twice, the other time as '\(key)'")
        }
    }

    /// Whether a value of the model stands in the file before, bit for bit; peft writes some twice.
    private func isSecondCopy(_ record: TensorRecord, _ other: TensorRecord?) throws(AdapterError) -> Bool {
        guard settings != nil, let other, other.shape == record.shape,
            other.encoding == record.encoding
        else { return false }
        return file.file.withBytes { bytes in
            bytes[other.byteRange].elementsEqual(bytes[record.byteRange])
        }
    }

    /// Whether a factor belongs to an embedding, a convolution or a parameter.
    private func isExtra(_ key: AdapterKey, _ suffix: String, _ convolutions: NameSet) -> Bool {
        guard settings != nil else { return false }
        if parameters.have(key.path) { return true }
        guard takesExtras else { return false }
        return suffix == PEFTNames.embeddingA || suffix == PEFTNames.embeddingB || convolutions.contains(key.path)
            || suffix == PEFTNames.magnitude && updates[key.path]?[PEFTNames.embeddingA] != nil
    }

    /// What can be merged alone. Throws `AdapterError.missingTensor`, `.wrongShape`, `.unsupportedModule` and what
    /// `make`, which makes a tensor of a record, throws.
    func extras(
        _ configuration: AdapterConfiguration, _ make: (String, TensorRecord) throws -> AdapterTensor
    ) throws -> AdapterExtras {
        var extras = AdapterExtras()
        extras.attentionOutputs = attentionOutputs
        if let settings {
            try parameters.checkComplete(updateOrder, file: file.path)
            for path in updateOrder { extras.updates.append(try update(of: path, settings, make)) }
        }
        func value(_ entry: Record, _ name: String) throws -> AdapterExtras.Value {
            .init(
                name: entry.key.path.isEmpty ? name : entry.key.path + "." + name,
                tensor: try make(entry.key.written, entry.record))
        }
        for entry in values {
            guard case .value(let name) = entry.key.part else { continue }
            extras.values.append(try value(entry, name))
        }
        for entry in originals {
            guard case .original(let name) = entry.key.part else { continue }
            extras.originals.append(try value(entry, name))
        }
        for entry in integers {
            guard let tensor = AdapterIntegers(entry.key.written, in: file, entry.record) else { continue }
            extras.integers.append(.init(key: entry.key, tensor: tensor))
        }
        let indices = TokenIndices(configuration.otherFields[PEFTNames.tokensField])
        for entry in rows {
            let path = entry.key.path
            guard let tokens = indices[path], entry.record.shape.first == tokens.count else {
                throw AdapterError.malformed(
                    file: file.path, what: "'\(PEFTNames.tokensField)' for '\(path)'",
                    expected: "\(entry.record.shape.first ?? 0) tokens, one for each trained row",
                    found: indices[path].map { "\($0.count)" } ?? "none")
            }
            extras.rows.append(
                .init(path: path, tokens: tokens, values: try make(entry.key.written, entry.record)))
        }
        return extras
    }

    /// The update of an embedding, a convolution or a parameter.
    private func update(
        of path: String, _ settings: any LowRankSettings, _ make: (String, TensorRecord) throws -> AdapterTensor
    ) throws -> MatrixUpdate {
        let found = updates[path] ?? [:]
        let isEmbedding = found[PEFTNames.embeddingA] != nil || found[PEFTNames.embeddingB] != nil
        func factor(_ suffix: String) throws -> TensorRecord {
            guard let record = found[suffix] else {
                throw AdapterError.missingTensor(file: file.path, tensor: PEFTNames.key(path, suffix))
            }
            return record
        }
        let (suffixA, suffixB) =
            isEmbedding ? (PEFTNames.embeddingA, PEFTNames.embeddingB) : (PEFTNames.loraA, PEFTNames.loraB)
        let (a, b) = (try factor(suffixA), try factor(suffixB))
        let bias = found[PEFTNames.loraBias]
        let tau = found[PEFTNames.tau]
        let known =
            [suffixA, suffixB, PEFTNames.tau]
            + (settings is DoRASettings ? [PEFTNames.magnitude] : [PEFTNames.loraBias])
        if let stray = found.keys.filter({ !known.contains($0) }).min() {
            throw AdapterError.unsupportedTensor(
                file: file.path, tensor: PEFTNames.key(path, stray),
                reason: "cannot be merged: it belongs to '\(path)', which is no linear layer")
        }
        let magnitude = settings is DoRASettings ? try factor(PEFTNames.magnitude) : nil
        let shape = try shape(path, isEmbedding: isEmbedding, settings, a, b)
        // One for each output, or for each column of an embedding: B's rows in both.
        let lengths = b.shape.first ?? 0
        if let magnitude, magnitude.elementCount != lengths {
            throw AdapterError.wrongShape(
                file: file.path, tensor: magnitude.name, expected: [lengths], found: magnitude.shape)
        }
        if magnitude != nil, case .parameter = shape.form {
            throw AdapterError.unsupportedModule(
                path, source: file.path, reason: "DoRA has no meaning for packed parameters, and peft refuses it")
        }
        if let bias, bias.shape != [b.shape.first ?? 0] || shape.form != .convolution {
            throw AdapterError.unsupportedTensor(
                file: file.path, tensor: bias.name, reason: "is the bias of what is no layer with one")
        }
        var update = MatrixUpdate(
            path: shape.path, form: shape.form, a: try make(PEFTNames.key(path, suffixA), a),
            b: try make(PEFTNames.key(path, suffixB), b),
            magnitude: try magnitude.map { try make(PEFTNames.key(path, PEFTNames.magnitude), $0) },
            rank: shape.rank, scale: settings.scaling(for: shape.settingsPath))
        update.bias = try bias.map { try make(PEFTNames.key(path, PEFTNames.loraBias), $0) }
        update.thresholds = try expertThresholds(tau, of: update, at: path, make)
        return update
    }

    /// The gates' thresholds of an update's experts; none of an adapter without gates.
    private func expertThresholds(
        _ record: TensorRecord?, of update: MatrixUpdate, at path: String,
        _ make: (String, TensorRecord) throws -> AdapterTensor
    ) throws -> [Float] {
        let key = PEFTNames.key(path, PEFTNames.tau)
        guard let record else {
            if isGated { throw AdapterError.missingTensor(file: file.path, tensor: key) }
            return []
        }
        guard isGated, case .parameter = update.form else {
            throw AdapterError.unsupportedTensor(
                file: file.path, tensor: record.name, reason: "is a gate's threshold of what has no gate")
        }
        guard record.shape == [update.expertCount] else {
            throw AdapterError.wrongShape(
                file: file.path, tensor: record.name, expected: [update.expertCount], found: record.shape)
        }
        return try make(key, record).values
    }

    /// What an update is of, and its rank; throws where the factors do not fit each other.
    private func shape(
        _ path: String, isEmbedding: Bool, _ settings: any LowRankSettings, _ a: TensorRecord, _ b: TensorRecord
    ) throws(AdapterError) -> (path: String, form: MatrixUpdate.Form, rank: Int, settingsPath: String) {
        func wrong(_ record: TensorRecord, _ expected: [Int]) -> AdapterError {
            .wrongShape(file: file.path, tensor: record.name, expected: expected, found: record.shape)
        }
        if let target = try parameters.parameter(at: path, file: file.path) {
            let settingsPath = target.path + "." + target.name
            let rank = settings.numbers.rank(for: settingsPath)
            guard a.shape.count == 2, rank > 0, a.shape[0] % rank == 0, a.shape[0] > 0 else {
                throw wrong(a, [rank, a.shape.last ?? 0])
            }
            guard b.shape.count == 2, b.shape[1] == a.shape[0] else {
                throw wrong(b, [b.shape.first ?? 0, a.shape[0]])
            }
            return (
                target.path, .parameter(name: target.name, expertCount: a.shape[0] / rank), rank, settingsPath
            )
        }
        let rank = settings.numbers.rank(for: path)
        if isEmbedding {
            guard a.shape.count == 2, a.shape[0] == rank else { throw wrong(a, [rank, a.shape.last ?? 0]) }
            guard b.shape.count == 2, b.shape[1] == rank else { throw wrong(b, [b.shape.first ?? 0, rank]) }
            return (path, .embedding, rank, path)
        }
        guard a.shape.count > 2, a.shape[0] == rank else { throw wrong(a, [rank] + a.shape.dropFirst()) }
        guard b.shape.count == a.shape.count, b.shape[2...].allSatisfy({ $0 == 1 }) else {
            throw wrong(b, [b.shape.first ?? 0, rank] + a.shape.dropFirst(2).map { _ in 1 })
        }
        guard b.shape[1] == rank else {
            throw .unsupportedModule(
                path, source: file.path,
                reason: "the factors \(a.shape) and \(b.shape) are those of a convolution in groups, whose update peft "
                    + "cannot merge either")
        }
        return (path, .convolution, rank, path)
    }
}

/// The tokens that `trainable_token_indices` lists, for one embedding or several.
private struct TokenIndices {
    private let lists: [(module: String?, tokens: [Int])]

    init(_ value: JSONValue?) {
        func integers(_ value: JSONValue) -> [Int] { value.arrayValue?.map { $0.integer(in: .tokenIDs) ?? -1 } ?? [] }
        if let object = value?.objectValue {
            lists = object.members.map { ($0.key, integers($0.value)) }
        } else {
            lists = value.map { [(nil, integers($0))] } ?? []
        }
    }

    /// The tokens of the embedding at a path; of one that is listed twice the later row counts, as in peft.
    subscript(path: String) -> [Int]? {
        lists.first { $0.module.map { TargetMatch.name($0, matches: path) } ?? true }?.tokens
    }
}
