import CheckpointIO
import TensorCore

/// The `pre_tokenizer` of a `tokenizer.json`.
extension TokenizerFile {
    /// Its steps.
    static func preTokenizers(_ fields: JSONFields) throws(TokenizationError) -> [PreTokenizer] {
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
        case "Whitespace":
            try fields.allow("type")
            return [.split(.wordsAndSymbols, behavior: .removed, inverted: true)]
        case "CharDelimiterSplit":
            try fields.allow("type", "delimiter")
            return [.split(.literal(try fields.bytes("delimiter")), behavior: .removed, inverted: false)]
        case "BertPreTokenizer":
            try fields.allow("type")
            return [.bert]
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
        if let known = pattern["Regex"]?.stringValue.flatMap({ WordPattern(expression: $0) }) {
            try pattern.allow("String", "Regex")
            return .words(known)
        }
        if let expression = try expression(fields) { return .expression(expression) }
        return .literal(try pattern.bytes("String"))
    }

    private static func behavior(_ fields: JSONFields) throws(TokenizationError) -> SplitBehavior {
        let name = try fields.string("behavior")
        guard let behavior = SplitBehavior(rawValue: name) else {
            throw fields.unsupported("the split behavior '\(name)' ('\(fields.place(of: "behavior"))')")
        }
        return behavior
    }

    /// The fields that the pre-tokenizer and the decoder of this name share, in the current and the older spelling.
    static func metaspace(
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
}
