import CheckpointIO
import Models
import TensorCore
import Tokenization

// MARK: Within safetensors

extension CheckpointConversion.Draft {
    /// safetensors to safetensors: a change of type touches floating-point tensors of 16 bits and more, and no others;
    /// integers, truth values and 8-bit floats, which belong to scales, stay as they are.
    init(
        safetensors checkpoint: Checkpoint, directory: String, to format: CheckpointConversion.Format,
        type: QuantizationMix?
    ) throws {
        let wanted = try Self.plainType(type, checkpoint)
        if wanted != nil, let quantization = checkpoint.configuration?["quantization_config"], !quantization.isNull {
            let method = quantization["quant_method"]?.stringValue ?? "a method without a name"
            throw TransformError.unsupported(
                path: joinedPath(directory, "config.json"),
                reason: "the weights are quantized by '\(method)' ('quantization_config'); another type would change "
                    + "their scales and not them; leave out \(.tensorType)")
        }
        tensors = checkpoint.tensors.map { record in
            ConvertedTensor(record, encoding: record.encoding.holdsReals ? wanted.map { .plain($0) } : nil)
        }
        let kept = NameSet(tensors.filter { wanted != nil && !$0.encoding.holdsReals }.map(\.encoding.description))
        if !kept.isEmpty { notes.append("tensors of \(kept.sorted().joined(separator: ", ")) keep their type") }
        headerPairs = Self.headerPairs(checkpoint)
        let isLone = checkpoint.path != directory && checkpoint.indexPath == nil
        if isLone, pathKind(joinedPath(directory, ShardIndex.fileName)) != .nothing {
            notes.append("only this file's tensors are in it; name '\(directory)' for all shards of the model")
        }
        guard format == .huggingFace else {
            if !isLone {
                notes.append("a safetensors file holds tensors alone; configuration and tokenizer are not in it")
            }
            return
        }
        let hasModel = checkpoint.configuration != nil
        let beside = !isLone || hasModel ? try HuggingFaceFiles.beside(directory) : ([], [])
        let changes = tensors.contains { $0.changedEncoding != nil }
        sideFiles = beside.0.map { name in
            if name == "config.json", changes, let wanted, let json = checkpoint.configuration {
                let text = HuggingFaceFiles.configuration(json, dtype: wanted).text(indent: 2) + "\n"
                return CheckpointConversion.SideFile(name: name, content: .text(text))
            }
            return CheckpointConversion.SideFile(name: name, content: .copy(joinedPath(directory, name)))
        }
        if !beside.1.isEmpty { notes.append("left behind: \(beside.1.joined(separator: ", "))") }
        if !hasModel { notes.append("there is no config.json beside the tensors, so the directory has none") }
    }

    /// Puts a configuration that no file has in place of the input's; nil for none. The record of merges is left to who
    /// writes it.
    mutating func takeConfiguration(_ json: JSONValue?) {
        sideFiles.removeAll { $0.name == MergeRecord.fileName }
        guard let json, let place = sideFiles.firstIndex(where: { $0.name == "config.json" }),
            case .copy = sideFiles[place].content
        else { return }
        sideFiles[place] = CheckpointConversion.SideFile(
            name: "config.json", content: .text(json.text(indent: 2) + "\n"))
    }

    /// The plain type that is asked for; nil where types are kept.
    private static func plainType(_ type: QuantizationMix?, _ checkpoint: Checkpoint) throws -> DType? {
        guard let type else { return nil }
        guard let plain = type.base.plainType else {
            throw TransformError.unsupported(
                path: checkpoint.path,
                reason: "safetensors holds no blocks such as \(type.name); give \(.tensorType, "f32"), f16 or bf16, or "
                    + "an output that ends in .gguf")
        }
        return plain
    }

    /// What the headers of the input's files say, each key as the first file has it.
    private static func headerPairs(_ checkpoint: Checkpoint) -> [(key: String, value: String)] {
        var keys: NameSet = []
        return checkpoint.headerMetadata.flatMap { metadata in metadata.filter { keys.insert($0.key).inserted } }
    }
}

// MARK: Within GGUF

extension CheckpointConversion.Draft {
    /// GGUF to GGUF: the same metadata and, with `type`, the encodings of that mix.
    ///
    /// - Parameter newMetadata: the input's metadata, where they are not those of its file.
    init(
        gguf checkpoint: Checkpoint, metadata newMetadata: [(key: String, value: GGUFEncodedValue)]? = nil,
        type: QuantizationMix?
    ) throws {
        guard let source = checkpoint.metadata else {
            throw TransformError.unsupported(path: checkpoint.path, reason: "it has no metadata")
        }
        metadata = newMetadata ?? source.keys.compactMap { key in source.encoded(key).map { (key, $0) } }
        set(
            GGUFModelMetadata.alignmentKey,
            source[GGUFModelMetadata.alignmentKey]?.integer(in: .sizes).flatMap(UInt32.init(exactly:)).map {
                .uint32($0)
            }
        )
        guard let type else {
            tensors = checkpoint.tensors.map { ConvertedTensor($0) }
            return
        }
        let facts = QuantizationMix.ModelFacts(source)
        guard type.suits(facts.architecture) else {
            throw TransformError.unsupported(
                path: checkpoint.path,
                reason: "llama.cpp has rules of its own for the types of '\(facts.architecture)' models, which tspeft "
                    + "does not know; a plain \(.tensorType) (f32, f16, bf16) suits them")
        }
        let encodings = type.encodings(of: checkpoint.tensors.map(QuantizationMix.Tensor.init), facts)
        tensors = zip(checkpoint.tensors, encodings).map { ConvertedTensor($0, encoding: $1) }
        set(GGUFModelMetadata.fileTypeKey, .uint32(type.fileType))
        if type.isQuantized {
            set(GGUFModelMetadata.quantizationVersionKey, .uint32(GGUFModelMetadata.quantizationVersion))
        }
        if newMetadata == nil { try noteSource(checkpoint) }
        let sources = NameSet(
            tensors.compactMap { $0.changedEncoding }.filter { $0.plainType == nil }.map(\.description))
        if type.isQuantized, !sources.isEmpty {
            notes.append(
                "quantized anew from \(sources.sorted().joined(separator: ", ")): the errors of both add up; the plain "
                    + "model gives a better result")
        }
        note(fallbacks: type)
    }

    /// Writes down which checkpoint the tensors are of, where some of them change and no adapter is in it: the file is
    /// another one then.
    private mutating func noteSource(_ checkpoint: Checkpoint) throws {
        guard tensors.contains(where: { $0.changedEncoding != nil }), try MergeRecord.read(of: checkpoint).isEmpty
        else {
            return
        }
        set(BaseFingerprint.sourcesKey, .string(try ModelCheckpoint.open(checkpoint).fingerprint().sourcesText))
    }

    /// Replaces or adds a metadata value; nil takes it out.
    private mutating func set(_ key: String, _ value: GGUFEncodedValue?) {
        let place = metadata.firstIndex { $0.key == key }
        switch (place, value) {
        case (let place?, let value?): metadata[place].value = value
        case (nil, let value?): metadata.append((key, value))
        case (let place?, nil): metadata.remove(at: place)
        case (nil, nil): break
        }
    }

    /// Says which rows are no whole blocks of the type that was asked for.
    private mutating func note(fallbacks type: QuantizationMix) {
        guard type.isQuantized else { return }
        let size = type.base.group.elements
        let odd = tensors.filter { $0.shape.count > 1 && $0.encoding.holdsReals && ($0.shape.last ?? 0) % size != 0 }
        guard let width = odd.first?.shape.last else { return }
        notes.append(
            "\(odd.count) tensors have rows (\(width) elements) that are no whole blocks of \(type.base), which has "
                + "\(size); they take narrower types, as llama.cpp does it")
    }
}

extension QuantizationMix.ModelFacts {
    /// What a GGUF file's metadata say of its model.
    init(_ metadata: GGUFMetadata) {
        architecture = metadata["general.architecture"]?.stringValue ?? ""
        let prefix = architecture
        func count(_ key: String) -> Int {
            let value = metadata["\(prefix).\(key)"]
            return value?.integer(in: .sizesOrNone) ?? value?.integers(in: .sizesOrNone)?.first ?? 0
        }
        layerCount = count("block_count")
        headCount = count("attention.head_count")
        keyValueHeadCount =
            metadata["\(prefix).attention.head_count_kv"] == nil
            ? headCount : count("attention.head_count_kv")
        expertCount = count("expert_count")
    }

    /// What a model of a known architecture has.
    init(_ architecture: any Architecture) {
        let model = architecture.configuration
        self.architecture = architecture.names.gguf
        layerCount = model.layerCount
        headCount = model.headCount
        keyValueHeadCount = model.keyValueHeadCount
    }
}

extension QuantizationMix.Tensor {
    fileprivate init(_ record: TensorRecord) {
        self.init(name: record.name, shape: record.shape, current: record.encoding)
    }
}

// MARK: Between the families

extension CheckpointConversion.Draft {
    /// Hugging Face to GGUF: the tensors by GGUF's names, vectors in F32, matrices as they are or as `type` has them.
    ///
    /// - Parameter unwritten: what the input is, where it is not written yet.
    init(
        huggingFace checkpoint: Checkpoint, directory: String, toGGUF type: QuantizationMix?,
        _ unwritten: UnwrittenCheckpoint? = nil
    ) throws {
        let model = try ModelCheckpoint.open(checkpoint)
        let architecture = try model.requireGraph(for: ModelCheckpoint.conversion)
        let configuration = architecture.configuration
        try Self.refuseUnknownTensors(model, architecture)
        if let problem = architecture.ggufProblem ?? configuration.rotaryScaling.ggufProblem {
            throw TransformError.unsupported(
                path: joinedPath(directory, "config.json"),
                reason: "the model has \(problem), which a GGUF file of '\(architecture.names.gguf)' cannot tell")
        }
        let (vocabulary, losses) = try GGUFVocabulary.huggingFace(
            directory: directory, vocabularySize: configuration.vocabularySize,
            configuration: model.checkpoint.configuration)
        notes = losses
        if let end = configuration.eosTokenIDs.first(where: { $0 >= configuration.vocabularySize }) {
            notes.append(
                "'eos_token_id' names \(end), which is none of the \(configuration.vocabularySize) tokens, and is left out"
            )
        }

        var entries: [QuantizationMix.Tensor] = []
        var records: [(record: TensorRecord, order: ConvertedTensor.Reordering)] = []
        for name in model.tensorNames {
            guard let record = model.record(of: name), let known = model.specifications[name],
                let ggufName = known.ggufName
            else { continue }
            // Convolutions are in F32 there too.
            let isVector = record.shape.count < 2 || known.role == .other
            entries.append(
                QuantizationMix.Tensor(
                    name: ggufName, shape: known.ggufShape,
                    current: isVector || record.encoding == .plain(.f64) ? .plain(.f32) : record.encoding))
            records.append((record, .gguf(known.ggufForm)))
        }
        let encodings =
            type?.encodings(of: entries, QuantizationMix.ModelFacts(architecture)) ?? entries.map(\.current)
        for (name, factors) in GGUFModelMetadata.rotaryFactors(configuration) {
            tensors.append(ConvertedTensor(name: name, values: factors))
        }
        for (index, entry) in entries.enumerated() {
            tensors.append(
                ConvertedTensor(
                    records[index].record, name: entry.name, encoding: encodings[index], order: records[index].order,
                    shape: entry.shape))
        }
        metadata = GGUFModelMetadata.pairs(
            architecture, json: model.checkpoint.configuration ?? .object([:]),
            generation: try Self.generation(directory),
            directory: unwritten?.directory ?? directory, weightCount: tensors.reduce(0) { $0 + $1.elementCount },
            fileType: (type ?? Self.prevailingType(tensors)).fileType, vocabulary: vocabulary)
        if metadata.contains(where: { $0.key == ModelConfiguration.ggufEndTokensKey }) {
            notes.append(
                "GGUF has a key each for the end of a text, a turn and a message; the model's whole list of ends is under "
                    + "'\(ModelConfiguration.ggufEndTokensKey)', which tspeft reads")
        }
        let merges = try unwritten?.record ?? MergeRecord.read(of: checkpoint)
        if merges.isEmpty {
            metadata.append((BaseFingerprint.sourcesKey, .string(try model.fingerprint().sourcesText)))
        } else {
            metadata.append((MergeRecord.metadataKey, .string(merges.metadataText)))
        }
        if let type { note(fallbacks: type) }
    }

    /// GGUF to Hugging Face: the tensors by its names and row order, blocks as BF16 unless `type` says otherwise.
    init(gguf checkpoint: Checkpoint, to format: CheckpointConversion.Format, type: QuantizationMix?) throws {
        let model = try ModelCheckpoint.open(checkpoint)
        try Self.refuseUnknownTensors(model, try model.requireGraph(for: ModelCheckpoint.conversion))
        let wanted = try Self.plainType(type, checkpoint)
        let names = model.tensorNames
        let records = names.compactMap { model.record(of: $0) }
        let encodings =
            try wanted.map { plain in records.map { _ in .plain(plain) } }
            ?? Self.keptEncodings(zip(names, records).map { ($1, .huggingFace(model.storedForm(of: $0))) }, checkpoint)
        tensors = zip(zip(names, records), encodings).map { entry, encoding in
            ConvertedTensor(
                entry.1, name: entry.0, encoding: encoding,
                order: .huggingFace(model.storedForm(of: entry.0)), shape: model.specifications[entry.0]?.shape)
        }
        if records.contains(where: { $0.encoding.plainType == nil }) {
            notes.append("blocks are written as numbers; what quantization lost is not in them")
        }
        guard format == .huggingFace else {
            notes.append("a safetensors file holds tensors alone; configuration and tokenizer are not in it")
            return
        }
        let dtype = wanted ?? Self.prevailingType(tensors).base.plainType ?? .f32
        sideFiles = try HuggingFaceFiles.texts(
            ofGGUF: model, dtype: dtype, tiedEmbeddings: model.hasTiedHead
        ).map { CheckpointConversion.SideFile(name: $0.name, content: .text($0.text)) }
        let merges = try MergeRecord.read(of: checkpoint)
        if !merges.isEmpty {
            sideFiles.append(CheckpointConversion.SideFile(name: MergeRecord.fileName, content: .text(merges.text)))
        }
    }

    /// Refuses tensors that the architecture does not have, and weights that are no numbers with a fraction.
    private static func refuseUnknownTensors(_ model: ModelCheckpoint, _ architecture: any Architecture) throws {
        for name in model.tensorNames {
            guard let encoding = model.record(of: name)?.encoding, !encoding.holdsReals else { continue }
            throw TransformError.unusableTensor(
                base: model.checkpoint.path, tensor: name, reason: "is of \(encoding), which is no weight's type")
        }
        guard let name = model.unknownTensors.first else { return }
        throw TransformError.unsupported(
            path: model.checkpoint.path,
            reason:
                "tensor '\(name)' is none of the architecture '\(architecture.names.modelType)'; what it would be in "
                + "another format is not known")
    }

    private static func generation(_ directory: String) throws -> JSONValue? {
        let path = joinedPath(directory, "generation_config.json")
        guard try checkedPathKind(path) == .regularFile else { return nil }
        do {
            return try JSONValue.parse(try readSmallFile(path, limit: 1 << 20))
        } catch let error as CheckpointError {
            throw error
        } catch {
            throw CheckpointError.malformed(file: path, problem: "\(error)")
        }
    }

    /// The plain type that most elements of matrices have; F32 where blocks prevail or there is none.
    private static func prevailingType(_ tensors: [ConvertedTensor]) -> QuantizationMix {
        var counts: [DType: Int] = [:]
        for tensor in tensors where tensor.shape.count > 1 {
            if let type = tensor.encoding.plainType { counts[type, default: 0] += tensor.elementCount }
        }
        let most = counts.max { ($0.value, $0.key.rawValue) < ($1.value, $1.key.rawValue) }
        return most.flatMap { QuantizationMix.plain($0.key) } ?? QuantizationMix.all[0]
    }

    /// The types of a Hugging Face checkpoint that keeps what the GGUF file has: plain matrices as they are, blocks in
    /// BF16. A vector, which GGUF has in F32 whatever it was, takes the type of most matrices if that loses nothing.
    private static func keptEncodings(
        _ tensors: [(record: TensorRecord, order: ConvertedTensor.Reordering)], _ checkpoint: Checkpoint
    ) throws -> [TensorEncoding] {
        let matrices = tensors.map(\.record).filter { $0.shape.count > 1 }.map { record in
            ConvertedTensor(record, encoding: record.encoding.plainType == nil ? .plain(.bf16) : nil)
        }
        let main = prevailingType(matrices).base
        return try tensors.map { record, order in
            guard record.encoding.plainType != nil else { return .plain(.bf16) }
            guard record.shape.count < 2, record.encoding == .plain(.f32) else { return record.encoding }
            let values = order.values(try checkpoint.floats(of: record))
            return main.holds(values) ? main : record.encoding
        }
    }
}

extension TensorEncoding {
    /// Whether this plain type holds each value as it is.
    fileprivate func holds(_ values: [Float]) -> Bool {
        switch self {
        case .plain(.f32), .plain(.f64): true
        case .plain(.bf16): values.allSatisfy { $0.bitPattern & 0xFFFF == 0 }
        case .plain(.f16): values.allSatisfy { Float(Float16($0)).bitPattern == $0.bitPattern }
        default: false
        }
    }
}
