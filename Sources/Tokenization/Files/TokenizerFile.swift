import CheckpointIO
import TensorCore

/// Reads Hugging Face's `tokenizer.json`.
///
/// Whatever in it is not understood is refused by name: a step left out would give other ids in silence. Two fields are
/// known and not applied, as `truncation` and `padding` are for the caller of `tokenizers` to choose anew each time.
struct TokenizerFile {
    private let root: JSONFields

    /// Takes the parsed text of `file`.
    init(_ value: JSONValue, file: String) throws(TokenizationError) {
        root = try JSONFields(value, file: file, path: "")
        try root.allow(
            "version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor",
            "decoder", "model")
    }

    /// Everything that the file says.
    func parts() throws(TokenizationError) -> TokenizerParts {
        let normalizers = try root["normalizer"] == nil ? [] : Self.normalizers(root.fields("normalizer"))
        let preTokenizers = try root["pre_tokenizer"] == nil ? [] : Self.preTokenizers(root.fields("pre_tokenizer"))
        let isByteLevel = preTokenizers.contains { if case .byteLevel = $0 { true } else { false } }
        if isByteLevel, case .byteLevel = preTokenizers.last {
        } else if isByteLevel {
            throw root.unsupported("a pre-tokenizer after ByteLevel")
        }
        let modelFields = try root.fields("model")
        let model = try BytePairModelFile(modelFields)
        var tokens = model.tokens
        let added = try addedTokens(into: &tokens)
        let (prefix, suffix) =
            try root["post_processor"] == nil ? ([], []) : Self.surroundings(root.fields("post_processor"))
        for id in prefix + suffix where tokens[id] == nil {
            throw .malformed(file: root.file, problem: "'post_processor' adds token \(id), which does not exist")
        }
        let steps = try root["decoder"] == nil ? [] : Self.decoderSteps(root.fields("decoder"))
        try checkGrowth(
            normalizers.map { if case .replace(let old, let new) = $0 { (old.count, new.count) } else { (1, 1) } },
            "normalizer")
        try checkGrowth(
            steps.map { if case .replace(let old, let new) = $0 { (old.count, new.count) } else { (1, 1) } }, "decoder")
        return TokenizerParts(
            tokens: tokens, added: added, normalizers: normalizers, preTokenizers: preTokenizers,
            model: .bytePair(try model.makeModel(isByteLevel: isByteLevel)), decoder: TokenDecoder(steps: steps),
            prefix: prefix, suffix: suffix)
    }

    /// How many times as long as it was a text may become by replacing; the steps of known tokenizers treble it.
    private static let growthLimit = 1000

    /// Throws `malformed` where replacements, each of a text of so many bytes by one of so many, could make a text far
    /// longer one after the other.
    private func checkGrowth(_ replacements: [(old: Int, new: Int)], _ key: String) throws(TokenizationError) {
        var growth = 1
        for replacement in replacements {
            growth *= max(1, (replacement.new + replacement.old - 1) / max(1, replacement.old))
            guard growth <= Self.growthLimit else {
                throw .malformed(
                    file: root.file,
                    problem: "the steps of '\(key)' can make a text more than \(Self.growthLimit) times as long")
            }
        }
    }

    // MARK: Added tokens

    private func addedTokens(into tokens: inout TokenTable) throws(TokenizationError) -> [AddedToken] {
        var added: [AddedToken] = []
        for fields in try root.fieldsList("added_tokens") {
            try fields.allow("id", "content", "single_word", "lstrip", "rstrip", "normalized", "special")
            let id = try fields.natural("id")
            let content = try fields.bytes("content")
            guard id < TokenTable.idLimit else {
                throw fields.malformed("id", "below \(TokenTable.idLimit)")
            }
            let known = tokens.id(of: content)
            guard known == Int32(id) || (known == nil && tokens.insert(content, id: Int32(id))) else {
                let text = String(decoding: content, as: UTF8.self)
                let clash = known.map { "the vocabulary gives it \($0)" } ?? "that id is another token's"
                throw .malformed(file: root.file, problem: "added token '\(text)' has id \(id), but \(clash)")
            }
            let isSpecial = try fields.bool("special", default: false)
            added.append(
                AddedToken(
                    id: Int32(id), content: content, isSpecial: isSpecial,
                    isSingleWord: try fields.bool("single_word", default: false),
                    stripsLeft: try fields.bool("lstrip", default: false),
                    stripsRight: try fields.bool("rstrip", default: false),
                    isNormalized: try fields.bool("normalized", default: !isSpecial)))
        }
        return added
    }

    // MARK: Normalizers

    private static func normalizers(_ fields: JSONFields) throws(TokenizationError) -> [Normalizer] {
        let type = try fields.string("type")
        switch type {
        case "Sequence":
            try fields.allow("type", "normalizers")
            var all: [Normalizer] = []
            for inner in try fields.fieldsList("normalizers") { all += try normalizers(inner) }
            return all
        case "Prepend":
            try fields.allow("type", "prepend")
            return [.prepend(Array(try fields.string("prepend").utf8))]
        case "Replace":
            try fields.allow("type", "pattern", "content")
            return [.replace(try literalPattern(fields), with: Array(try fields.string("content").utf8))]
        case "NFC":
            try fields.allow("type")
            return [.composed]
        default:
            throw fields.unsupported("the normalizer '\(type)' ('\(fields.place(of: "type"))')")
        }
    }

    /// The text that a `pattern` field looks for; an expression is refused.
    private static func literalPattern(_ fields: JSONFields) throws(TokenizationError) -> [UInt8] {
        let pattern = try fields.fields("pattern")
        try pattern.allow("String", "Regex")
        if let expression = pattern["Regex"]?.stringValue {
            throw fields.unsupported("the expression '\(expression)' ('\(pattern.place(of: "Regex"))')")
        }
        return try pattern.bytes("String")
    }

    // MARK: Pre-tokenizers

    private static func preTokenizers(_ fields: JSONFields) throws(TokenizationError) -> [PreTokenizer] {
        let type = try fields.string("type")
        switch type {
        case "Sequence":
            try fields.allow("type", "pretokenizers")
            var all: [PreTokenizer] = []
            for inner in try fields.fieldsList("pretokenizers") { all += try preTokenizers(inner) }
            return all
        case "ByteLevel":
            try fields.allow("type", "add_prefix_space", "trim_offsets", "use_regex")
            return [
                .byteLevel(
                    addsPrefixSpace: try fields.bool("add_prefix_space"),
                    splits: try fields.bool("use_regex", default: true))
            ]
        case "Split":
            try fields.allow("type", "pattern", "behavior", "invert")
            return [
                .split(
                    try splitPattern(fields), behavior: try behavior(fields),
                    inverted: try fields.bool("invert", default: false))
            ]
        case "Digits":
            try fields.allow("type", "individual_digits")
            let isSingle = try fields.bool("individual_digits", default: false)
            return [.split(.numbers, behavior: isSingle ? .isolated : .contiguous, inverted: false)]
        case "Punctuation":
            try fields.allow("type", "behavior")
            let behavior = try fields["behavior"] == nil ? .isolated : behavior(fields)
            return [.split(.punctuation, behavior: behavior, inverted: false)]
        case "WhitespaceSplit":
            try fields.allow("type")
            return [.split(.whiteSpace, behavior: .removed, inverted: false)]
        case "Metaspace":
            let (replacement, prefix) = try metaspace(fields)
            return [
                .metaspace(replacement: replacement, prefix: prefix, splits: try fields.bool("split", default: true))
            ]
        default:
            throw fields.unsupported("the pre-tokenizer '\(type)' ('\(fields.place(of: "type"))')")
        }
    }

    private static func splitPattern(_ fields: JSONFields) throws(TokenizationError) -> SplitPattern {
        let pattern = try fields.fields("pattern")
        try pattern.allow("String", "Regex")
        guard pattern["Regex"] != nil else { return .literal(try pattern.bytes("String")) }
        let expression = try pattern.string("Regex")
        guard let known = WordPattern(expression: expression) else {
            throw fields.unsupported("the expression '\(expression)' ('\(pattern.place(of: "Regex"))')")
        }
        return .words(known)
    }

    private static func behavior(_ fields: JSONFields) throws(TokenizationError) -> SplitBehavior {
        let name = try fields.string("behavior")
        guard let behavior = SplitBehavior(rawValue: name) else {
            throw fields.unsupported("the split behavior '\(name)' ('\(fields.place(of: "behavior"))')")
        }
        return behavior
    }

    /// The fields that the pre-tokenizer and the decoder of this name share, in the current and the older spelling.
    private static func metaspace(
        _ fields: JSONFields
    ) throws(TokenizationError) -> (replacement: [UInt8], prefix: PreTokenizer.PrefixScheme) {
        try fields.allow("type", "replacement", "prepend_scheme", "split", "add_prefix_space", "str_rep")
        let name = try fields["prepend_scheme"] == nil ? "always" : fields.string("prepend_scheme")
        guard let prefix = PreTokenizer.PrefixScheme(rawValue: name) else {
            throw fields.unsupported("the prepend scheme '\(name)' ('\(fields.place(of: "prepend_scheme"))')")
        }
        let addsPrefix = try fields.bool("add_prefix_space", default: true)
        return (try fields.bytes("replacement"), addsPrefix ? prefix : .never)
    }

    // MARK: Post-processors

    /// The tokens before and after a single text.
    private static func surroundings(
        _ fields: JSONFields
    ) throws(TokenizationError) -> (prefix: [Int32], suffix: [Int32]) {
        let type = try fields.string("type")
        switch type {
        case "ByteLevel":
            // Changes offsets only.
            try fields.allow("type", "add_prefix_space", "trim_offsets", "use_regex")
            return ([], [])
        case "Sequence":
            try fields.allow("type", "processors")
            var (prefix, suffix): ([Int32], [Int32]) = ([], [])
            for inner in try fields.fieldsList("processors") {
                let outer = try surroundings(inner)
                (prefix, suffix) = (outer.prefix + prefix, suffix + outer.suffix)
            }
            return (prefix, suffix)
        case "TemplateProcessing":
            try fields.allow("type", "single", "pair", "special_tokens")
            return try templateSurroundings(fields)
        default:
            throw fields.unsupported("the post-processor '\(type)' ('\(fields.place(of: "type"))')")
        }
    }

    private static func templateSurroundings(
        _ fields: JSONFields
    ) throws(TokenizationError) -> (prefix: [Int32], suffix: [Int32]) {
        var halves: [[Int32]] = [[]]
        for piece in try fields.fieldsList("single") {
            try piece.allow("SpecialToken", "Sequence")
            if piece["Sequence"] != nil {
                halves.append([])
                continue
            }
            let name = try piece.fields("SpecialToken").string("id")
            let token = try fields.fields("special_tokens").fields(name)
            for value in try token.list("ids") {
                guard let id = value.integer(in: .tokenIDs), let id = Int32(exactly: id) else {
                    throw token.malformed("ids", "a list of token ids")
                }
                halves[halves.count - 1].append(id)
            }
        }
        guard halves.count == 2 else { throw fields.malformed("single", "a template with the text in it once") }
        return (halves[0], halves[1])
    }

    // MARK: Decoders

    private static func decoderSteps(_ fields: JSONFields) throws(TokenizationError) -> [TokenDecoder.Step] {
        let type = try fields.string("type")
        switch type {
        case "Sequence":
            try fields.allow("type", "decoders")
            var all: [TokenDecoder.Step] = []
            for inner in try fields.fieldsList("decoders") { all += try decoderSteps(inner) }
            return all
        case "ByteLevel":
            try fields.allow("type", "add_prefix_space", "trim_offsets", "use_regex")
            return [.byteLevel]
        case "Replace":
            try fields.allow("type", "pattern", "content")
            return [.replace(pattern: try literalPattern(fields), content: Array(try fields.string("content").utf8))]
        case "ByteFallback":
            try fields.allow("type")
            return [.byteFallback]
        case "Fuse":
            try fields.allow("type")
            return [.fuse]
        case "Strip":
            try fields.allow("type", "content", "start", "stop")
            return [
                .strip(
                    character: try fields.bytes("content"), start: try fields.natural("start"),
                    stop: try fields.natural("stop"))
            ]
        case "Metaspace":
            let (replacement, prefix) = try metaspace(fields)
            return [.metaspace(replacement: replacement, dropsFirst: prefix != .never)]
        default:
            throw fields.unsupported("the decoder '\(type)' ('\(fields.place(of: "type"))')")
        }
    }
}
