import CheckpointIO
import Glibc
import Models
import TensorCore
import Tokenization

/// The metadata of a GGUF file made from a Hugging Face checkpoint, by the keys that llama.cpp's
/// converter writes.
enum GGUFModelMetadata {
    /// Key and value, in the order of the file.
    typealias Pairs = [(key: String, value: GGUFEncodedValue)]

    /// What llama.cpp calls the version of its block formats.
    static let quantizationVersion: UInt32 = 2
    static let alignmentKey = "general.alignment"
    static let fileTypeKey = "general.file_type"
    static let quantizationVersionKey = "general.quantization_version"
    /// The key of tspeft's own that has `rope_scaling` as JSON, whose numbers `rope_freqs.weight` does not tell.
    static let rotaryScalingKey = "tspeft.rope_scaling"
    /// What `generation_config.json` calls the real numbers that it recommends to sample by, and llama.cpp's keys.
    static let samplingNumbers = [
        (name: "top_p", key: "general.sampling.top_p"), ("min_p", "general.sampling.min_p"),
        ("temperature", "general.sampling.temp"), ("repetition_penalty", "general.sampling.penalty_repeat"),
    ]
    /// The same for `top_k`, an integer.
    static let topKey = "general.sampling.top_k"
    /// Texts by which llama.cpp knows a token that ends a turn, and one that ends a message.
    private static let turnEnds: Set<String> = [
        "<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>", "<EOT>", "_<EOT>",
        "[EOT]", "<｜end▁of▁sentence｜>", "<end_of_utterance>",
    ]
    private static let messageEnds: Set<String> = ["<|eom_id|>"]

    /// All of it.
    ///
    /// - Parameters:
    ///   - json: the model's `config.json`.
    ///   - generation: its `generation_config.json`, which may recommend how to sample.
    ///   - directory: the model's directory, which names it where the configuration does not.
    static func pairs(
        _ architecture: any Architecture, json: JSONValue, generation: JSONValue?, directory: String, weightCount: Int,
        fileType: UInt32, vocabulary: GGUFVocabulary
    ) -> Pairs {
        let model = architecture.configuration
        var pairs: Pairs = [
            ("general.architecture", .string(architecture.names.gguf)),
            ("general.type", .string("model")),
        ]
        pairs += sampling(generation)
        pairs += [
            ("general.name", .string(name(json, directory: directory))),
            ("general.size_label", .string(sizeLabel(weightCount))),
        ]
        pairs.append((fileTypeKey, .uint32(fileType)))
        pairs += WrittenFields(of: architecture).gguf
        pairs.append((quantizationVersionKey, .uint32(quantizationVersion)))
        if case .llama3 = model.rotaryScaling, let members = model.rotaryScaling.scalingMembers {
            pairs.append((rotaryScalingKey, .string(JSONValue.object(members).text())))
        }
        return pairs + tokenizer(vocabulary, endTokens(model, generation, vocabulary))
    }

    /// The divisors of the rotary frequencies that go into tensors, such as `rope_freqs.weight`, of as many numbers as
    /// pairs turn; none where the metadata say all.
    static func rotaryFactors(_ model: ModelConfiguration) -> [(name: String, factors: [Float])] {
        switch model.rotaryScaling {
        case .standard, .linear, .dynamic, .yarn: return []
        case .factors(let factors): return [(RotaryScaling.ggufFactors, factors)]
        case .longrope(let long):
            return [
                (RotaryScaling.ggufLongFactors, long.longFactors), (RotaryScaling.ggufShortFactors, long.shortFactors),
            ]
        case .llama3(let factor, let low, let high, let original):
            let factors: [Float] = (0..<model.turnedSize / 2).map { index in
                let exponent = Float(2 * index) / Float(model.turnedSize)
                let frequency = 1 / Float(pow(model.rotaryBase, Double(exponent)))
                let wavelength = 2 * Float.pi / frequency
                let positions = Float(original)
                if wavelength < positions / Float(high) { return 1 }
                if wavelength > positions / Float(low) { return Float(factor) }
                let smooth = (positions / wavelength - Float(low)) / Float(high - low)
                return 1 / ((1 - smooth) / Float(factor) + smooth)
            }
            return [(RotaryScaling.ggufFactors, factors)]
        }
    }

    // MARK: General

    /// How `generation_config.json` recommends to sample, by llama.cpp's names.
    private static func sampling(_ generation: JSONValue?) -> Pairs {
        var pairs: Pairs = []
        if let count = generation?["top_k"]?.integer(in: .sizesOrNone).flatMap(Int32.init(exactly:)) {
            pairs.append((topKey, .int32(count)))
        }
        for (name, key) in samplingNumbers {
            if let value = generation?[name]?.doubleValue { pairs.append((key, .float32(Float(value)))) }
        }
        return pairs
    }

    /// The model's name for people: from `_name_or_path` where that is a name and no path, or else from the directory.
    private static func name(_ json: JSONValue, directory: String) -> String {
        if let given = json["_name_or_path"]?.stringValue, given.count(where: { $0 == "/" }) <= 1,
            let last = given.split(separator: "/").last, !given.hasPrefix(".")
        {
            return title(String(last))
        }
        return title(lastPathComponent(resolved(directory)))
    }

    /// A path without links and dots, where it leads somewhere.
    private static func resolved(_ path: String) -> String {
        guard let resolved = realpath(path, nil) else { return path }
        defer { free(resolved) }
        return String(cString: resolved)
    }

    /// `tiny-llama-v2` as `Tiny Llama v2`: words in lower case get a capital, but for versions and numbers.
    static func title(_ text: String) -> String {
        let words = text.split { $0 == "-" || $0 == " " }
        return words.map { word -> String in
            let isVersion = word.first == "v" && word.dropFirst().first?.isNumber == true
            guard !isVersion, word.first?.isNumber == false, word == word.lowercased()[...] else { return String(word) }
            return word.prefix(1).uppercased() + word.dropFirst()
        }.joined(separator: " ")
    }

    /// A count of weights in two or three digits: `135M`, `1.1B`.
    static func sizeLabel(_ count: Int) -> String {
        let (unit, suffix) =
            count > 1_000_000_000_000
            ? (1e12, "T") : count > 1_000_000_000 ? (1e9, "B") : count > 1_000_000 ? (1e6, "M") : (1e3, "K")
        let scaled = Double(count) / unit
        let whole = Int(scaled.rounded(.toNearestOrEven))
        if whole >= 10 { return "\(whole)\(suffix)" }
        let tenths = Int((scaled * 10).rounded(.toNearestOrEven))
        return "\(tenths / 10).\(tenths % 10)\(suffix)"
    }

    // MARK: Tokenizer

    /// Every token of the vocabulary that ends a text: those of `config.json`, then what `generation_config.json` has
    /// beyond them.
    private static func endTokens(
        _ model: ModelConfiguration, _ generation: JSONValue?, _ vocabulary: GGUFVocabulary
    ) -> [Int] {
        let member = generation?["eos_token_id"]
        let recommended = (member?.arrayValue ?? member.map { [$0] } ?? []).compactMap { $0.integer(in: .tokenIDs) }
        var ends: [Int] = []
        for id in model.eosTokenIDs + recommended where vocabulary.tokens.indices.contains(id) && !ends.contains(id) {
            ends.append(id)
        }
        return ends
    }

    private static func tokenizer(_ vocabulary: GGUFVocabulary, _ ends: [Int]) -> Pairs {
        var pairs: Pairs = [("tokenizer.ggml.model", .string(vocabulary.model))]
        func add(_ key: String, _ value: GGUFEncodedValue?) {
            if let value { pairs.append(("tokenizer." + key, value)) }
        }
        func id(_ id: Int?) -> GGUFEncodedValue? { id.map { .uint32(UInt32($0)) } }
        add("ggml.pre", vocabulary.preTokenizer.map { .string($0) })
        add("ggml.tokens", .byteStrings(vocabulary.tokens))
        add("ggml.scores", vocabulary.scores.isEmpty ? nil : .floats(vocabulary.scores))
        add("ggml.token_type", .int32s(vocabulary.types.map { Int32($0.rawValue) }))
        if vocabulary.model == "gpt2" { add("ggml.merges", .byteStrings(vocabulary.merges)) }
        add("ggml.bos_token_id", id(vocabulary.bosTokenID))
        add("ggml.eos_token_id", id(vocabulary.eosTokenID))
        // A model that ends its turns or messages with another token than its texts.
        func end(_ texts: Set<String>) -> Int? {
            ends.first {
                $0 != vocabulary.eosTokenID && texts.contains(String(decoding: vocabulary.tokens[$0], as: UTF8.self))
            }
        }
        let (turn, message) = (end(turnEnds), end(messageEnds))
        add("ggml.eot_token_id", id(turn))
        add("ggml.eom_token_id", id(message))
        add("ggml.unknown_token_id", id(vocabulary.unknownTokenID))
        add("ggml.padding_token_id", id(vocabulary.paddingTokenID))
        add("ggml.add_bos_token", vocabulary.addsBOS.map { .bool($0) })
        add("ggml.add_eos_token", vocabulary.addsEOS.map { .bool($0) })
        add("ggml.add_space_prefix", vocabulary.addsSpacePrefix.map { .bool($0) })
        let templates = vocabulary.chatTemplates
        for template in templates.named { add("chat_template.\(template.name)", .string(template.text)) }
        add("chat_templates", templates.named.isEmpty ? nil : .strings(templates.named.map(\.name)))
        add("chat_template", templates.standard.map { .string($0) })
        if !ends.isEmpty, ends != [vocabulary.eosTokenID, turn, message].compactMap({ $0 }) {
            pairs.append((ModelConfiguration.ggufEndTokensKey, .int32s(ends.map(Int32.init))))
        }
        return pairs
    }
}
