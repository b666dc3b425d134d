import CheckpointIO

/// What becomes of text before byte-level merges, for one name of `tokenizer.ggml.pre`.
///
/// A name stands for what Hugging Face's tokenizers of its models do, so that a file gives the ids that its model was
/// trained with: with Qwen's names that is composing too, which llama.cpp leaves out.
package struct ByteLevelRule: Sendable, Equatable {
    /// A step that cuts words.
    enum Step: Sendable, Equatable {
        /// Every digit is a word.
        case digits
        /// GPT-2's words, whose bytes the model sees.
        case gpt2
        /// The words of a pattern, whose bytes the model sees.
        case words(WordPattern)
    }

    /// The names in GGUF, the one that is written first.
    let names: [String]
    let isComposed: Bool
    let steps: [Step]
    /// Whether a word that is a token is that token, whatever the merges.
    package let ignoresMerges: Bool
    /// Whether its models' texts begin with a token where a file does not say.
    package let beginsTexts: Bool
    /// That token, where the name is for texts that begin with this one alone.
    let beginning: String?

    private static let known = [
        ByteLevelRule("gpt-2", steps: [.gpt2]),
        ByteLevelRule("smollm", "starcoder", steps: [.digits, .gpt2]),
        ByteLevelRule(
            "llama-bpe", "llama3", "llama-v3", steps: [.words(.llama3(longestNumber: 3))], ignoresMerges: true,
            beginsTexts: true),
        ByteLevelRule("qwen2", isComposed: true, steps: [.words(.llama3(longestNumber: 1))]),
        ByteLevelRule(
            "deepseek-r1-qwen", isComposed: true, steps: [.words(.llama3(longestNumber: 1))], beginsTexts: true,
            beginning: "<｜begin▁of▁sentence｜>"),
        ByteLevelRule("qwen35", isComposed: true, steps: [.words(.llama3(longestNumber: 1, joinsMarks: true))]),
    ]

    private init(
        _ names: String..., isComposed: Bool = false, steps: [Step], ignoresMerges: Bool = false,
        beginsTexts: Bool = false, beginning: String? = nil
    ) {
        self.names = names
        self.isComposed = isComposed
        self.steps = steps
        self.ignoresMerges = ignoresMerges
        self.beginsTexts = beginsTexts
        self.beginning = beginning
    }

    /// The rule of a name; nil for an unknown one.
    package init?(name: String) {
        guard let rule = Self.known.first(where: { $0.names.contains(name) }) else { return nil }
        self = rule
    }

    /// The rule that gives a tokenizer's words; nil where none does. Of two, the one for texts that begin as the
    /// tokenizer's do.
    init?(_ parts: TokenizerParts) {
        guard case .bytePair(let model) = parts.model, model.unknownToken == nil, parts.decoder.steps == [.byteLevel]
        else { return nil }
        let rules = Self.known.filter {
            $0.normalizers == parts.normalizers && $0.preTokenizers == parts.preTokenizers
                && $0.ignoresMerges == model.ignoresMerges
        }
        let beginning = parts.frame.prefix.first.flatMap { parts.tokens[$0] }.map {
            String(decoding: $0, as: UTF8.self)
        }
        let closest = rules.first { $0.beginning != nil && $0.beginning == beginning }
        guard let rule = closest ?? rules.first(where: { $0.beginning == nil }) else { return nil }
        self = rule
    }

    /// The name that is written.
    var name: String { names[0] }

    var normalizers: [Normalizer] { isComposed ? [.composed] : [] }

    var preTokenizers: [PreTokenizer] {
        steps.flatMap { step -> [PreTokenizer] in
            switch step {
            case .digits: [.split(.numbers, behavior: .isolated, inverted: false)]
            case .gpt2: [.byteLevel(addsPrefixSpace: false, splits: true)]
            case .words(let pattern):
                [
                    .split(.words(pattern), behavior: .isolated, inverted: false),
                    .byteLevel(addsPrefixSpace: false, splits: false),
                ]
            }
        }
    }
}

/// The rule in a `tokenizer.json`.
extension ByteLevelRule {
    /// The value of `normalizer`.
    package var normalizerJSON: JSONValue { isComposed ? .object(["type": .string("NFC")]) : .null }

    /// The value of `pre_tokenizer`.
    package var preTokenizerJSON: JSONValue {
        let steps = self.steps.flatMap { step -> [JSONValue] in
            switch step {
            case .digits: [.object(["type": .string("Digits"), "individual_digits": .bool(true)])]
            case .gpt2: [Self.byteLevelJSON(splits: true)]
            case .words(let pattern):
                [
                    .object([
                        "type": .string("Split"), "pattern": .object(["Regex": .string(pattern.expression)]),
                        "behavior": .string(SplitBehavior.isolated.rawValue), "invert": .bool(false),
                    ]),
                    Self.byteLevelJSON(splits: false),
                ]
            }
        }
        return .object(["type": .string("Sequence"), "pretokenizers": .array(steps)])
    }

    /// The value of `decoder`.
    package static var decoderJSON: JSONValue { byteLevelJSON(splits: true) }

    private static func byteLevelJSON(splits: Bool) -> JSONValue {
        .object([
            "type": .string("ByteLevel"), "add_prefix_space": .bool(false), "trim_offsets": .bool(true),
            "use_regex": .bool(splits),
        ])
    }
}
