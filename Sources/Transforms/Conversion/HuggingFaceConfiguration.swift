import CheckpointIO
import Models
import TensorCore

/// The `config.json` and `generation_config.json` that a Hugging Face directory needs, from a model read elsewhere.
enum HuggingFaceConfiguration {
    /// Original context lengths that a Llama 3 scaling is looked for among (tokens).
    private static let originalContexts = [2048, 4096, 8192, 16384, 32768, 65536, 131_072]
    /// Llama 3's band between scaled and unscaled frequencies, the same in all its releases.
    private static let (lowFrequencyFactor, highFrequencyFactor) = (1.0, 4.0)
    /// Frequencies agree if they differ by no more than this part: float32 rounding, with room for a stored factor's.
    private static let frequencyTolerance: Float = 1e-5

    /// `config.json` of a model in `dtype`, which reads back as the same model.
    ///
    /// `recorded` is the `rope_scaling` that the file has as JSON, taken if the model's frequencies are what it gives.
    /// Throws `TransformError.unsupported` for rotary factors that no scaling of Hugging Face's gives.
    static func config(
        of architecture: any Architecture, dtype: DType, tiedEmbeddings: Bool, paddingTokenID: Int?,
        recorded: String? = nil, file: String
    ) throws -> JSONValue {
        let json = config(
            of: architecture, dtype: dtype, tiedEmbeddings: tiedEmbeddings, paddingTokenID: paddingTokenID)
        let model = architecture.configuration
        return try adding(
            model.rotaryScaling, model.inverseFrequencies, to: json, recorded: recorded, file: file)
    }

    /// `config` with the `rope_scaling` that gives these frequencies; throws `TransformError.unsupported` if there is
    /// none.
    static func adding(
        _ scaling: RotaryScaling, _ frequencies: [Float], to config: JSONObject, recorded: String? = nil, file: String
    ) throws -> JSONValue {
        // An architecture that says it in an object of its own has said all.
        if config["rope_parameters"] != nil { return .object(config) }
        var config = config
        if let recorded, let json = try? JSONValue.parse(Array(recorded.utf8)), json.objectValue != nil {
            config["rope_scaling"] = json
            // Another program may have changed the factors, or the text.
            if let read = try? Self.frequencies(config), agree(read, frequencies) {
                return .object(config)
            }
        }
        for candidate in candidates(for: scaling) {
            config["rope_scaling"] = candidate
            if agree(try Self.frequencies(config), frequencies) { return .object(config) }
        }
        throw TransformError.unsupported(
            path: file,
            reason:
                "its rotary factors (rope_freqs.weight) are no 'linear' or 'llama3' scaling that config.json can say")
    }

    /// `generation_config.json` of `model`, with what a GGUF file's metadata recommend to sample by.
    static func generation(
        of model: ModelConfiguration, paddingTokenID: Int?, metadata: GGUFMetadata
    ) -> JSONValue {
        var sampling: JSONObject = [:]
        sampling["top_k"] = metadata[GGUFModelMetadata.topKey]?.integer(in: .sizesOrNone).map { .integer($0) }
        for (name, key) in GGUFModelMetadata.samplingNumbers {
            sampling[name] = metadata[key]?.doubleValue.map { .real(Float($0)) }
        }
        // transformers makes a configuration anew from the model's if that is said to be its source, and takes no
        // notice of the numbers, or refuses to save them, where 'do_sample' is false.
        var members = sampling
        if sampling.members.isEmpty { members["_from_model_config"] = .bool(true) }
        if sampling.members.contains(where: { $0.key != "repetition_penalty" }) { members["do_sample"] = .bool(true) }
        members["bos_token_id"] = model.bosTokenID.map { .integer($0) }
        members["eos_token_id"] = model.endTokens
        members["pad_token_id"] = paddingTokenID.map { .integer($0) }
        return .object(members)
    }

    /// The frequencies of the model of a `config.json`.
    private static func frequencies(_ config: JSONObject) throws -> [Float] {
        try ArchitectureTable.read(configuration: .object(config), file: "config.json").configuration
            .inverseFrequencies
    }

    /// The members in the order of their names, as transformers has them.
    private static func config(
        of architecture: any Architecture, dtype: DType, tiedEmbeddings: Bool, paddingTokenID: Int?
    ) -> JSONObject {
        var members = WrittenFields(of: architecture).json
        members["pad_token_id"] = paddingTokenID.map { .integer($0) } ?? .null
        members["tie_word_embeddings"] = .bool(tiedEmbeddings)
        members["torch_dtype"] = .string(dtype.torchName)
        return members.members.sorted { $0.key < $1.key }.reduce(into: JSONObject()) { $0[$1.key] = $1.value }
    }

    /// What `rope_scaling` may say to give a scaling's frequencies, likeliest first.
    private static func candidates(for scaling: RotaryScaling) -> [JSONValue] {
        switch scaling {
        case .standard: return [.null]
        case .linear, .dynamic, .llama3, .yarn, .longrope: return [scaling.scalingMembers.map { .object($0) } ?? .null]
        case .factors(let factors):
            // The slowest pair is divided by the whole factor.
            guard let factor = factors.max() else { return [.null] }
            return [.null, .object(["rope_type": .string("linear"), "factor": .real(factor)])]
                + originalContexts.map {
                    llama3(
                        factor: Double(factor), low: lowFrequencyFactor, high: highFrequencyFactor, original: $0)
                }
        }
    }

    /// `rope_scaling` as Llama 3 has it; `original` in tokens.
    static func llama3(factor: Double, low: Double, high: Double, original: Int) -> JSONValue {
        .object([
            "factor": .real(factor), "high_freq_factor": .real(high), "low_freq_factor": .real(low),
            "original_max_position_embeddings": .integer(original), "rope_type": .string("llama3"),
        ])
    }

    private static func agree(_ left: [Float], _ right: [Float]) -> Bool {
        left.count == right.count
            && zip(left, right).allSatisfy { abs($0 - $1) <= frequencyTolerance * max(abs($0), abs($1)) }
    }
}
