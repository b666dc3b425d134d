import CheckpointIO
import TensorCore

/// The `normalizer` of a `tokenizer.json`.
extension TokenizerFile {
    /// Its steps.
    static func normalizers(_ fields: JSONFields) throws(TokenizationError) -> [Normalizer] {
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
            let content = Array(try fields.string("content").utf8)
            if let expression = try expression(fields) { return [.replaceMatches(expression, with: content)] }
            return [.replace(try literalPattern(fields), with: content)]
        case "BertNormalizer": return [.bert(try bertNormalization(fields))]
        case "Strip":
            try fields.allow("type", "strip_left", "strip_right")
            return [.strip(left: try fields.bool("strip_left"), right: try fields.bool("strip_right"))]
        case "Precompiled": return [.characterMap(try characterMap(fields))]
        case "Lowercase", "StripAccents", "Nmt":
            try fields.allow("type")
            return [type == "Lowercase" ? .lowercase : type == "Nmt" ? .translationSpaces : .stripAccents]
        default:
            guard let form = NormalForm(rawValue: type) else {
                throw fields.unsupported("the normalizer '\(type)' ('\(fields.place(of: "type"))')")
            }
            try fields.allow("type")
            return [.form(form)]
        }
    }

    private static func bertNormalization(_ fields: JSONFields) throws(TokenizationError) -> BertNormalization {
        try fields.allow("type", "clean_text", "handle_chinese_chars", "strip_accents", "lowercase")
        let lowercases = try fields.bool("lowercase", default: true)
        return BertNormalization(
            cleans: try fields.bool("clean_text", default: true),
            separatesChinese: try fields.bool("handle_chinese_chars", default: true),
            stripsAccents: try fields.bool("strip_accents", default: lowercases), lowercases: lowercases)
    }

    private static func characterMap(_ fields: JSONFields) throws(TokenizationError) -> CharacterMap {
        try fields.allow("type", "precompiled_charsmap")
        guard let bytes = bytes(base64: try fields.string("precompiled_charsmap")),
            let map = CharacterMap(bytes)
        else { throw fields.malformed("precompiled_charsmap", "a table of characters in Base64") }
        return map
    }

    /// What a text in Base64 (RFC 4648, section 4) stands for; nil for one that is none.
    static func bytes(base64 text: String) -> [UInt8]? {
        var bytes: [UInt8] = []
        var word: UInt32 = 0
        var count = 0
        var padding = 0
        for character in text.utf8 {
            let value: UInt8
            switch character {
            case UInt8(ascii: "A")...UInt8(ascii: "Z"): value = character - 0x41
            case UInt8(ascii: "a")...UInt8(ascii: "z"): value = character - 0x47
            case UInt8(ascii: "0")...UInt8(ascii: "9"): value = character + 4
            case UInt8(ascii: "+"): value = 62
            case UInt8(ascii: "/"): value = 63
            case UInt8(ascii: "="):
                padding += 1
                continue
            default: return nil
            }
            guard padding == 0 else { return nil }
            word = word << 6 | UInt32(value)
            count += 1
            if count % 4 == 0 {
                bytes += [UInt8(truncatingIfNeeded: word >> 16), UInt8(truncatingIfNeeded: word >> 8)]
                bytes.append(UInt8(truncatingIfNeeded: word))
            }
        }
        guard (count + padding) % 4 == 0, padding <= 2 else { return nil }
        switch count % 4 {
        case 2: bytes.append(UInt8(truncatingIfNeeded: word >> 4))
        case 3: bytes += [UInt8(truncatingIfNeeded: word >> 10), UInt8(truncatingIfNeeded: word >> 2)]
        default: break
        }
        return bytes
    }

    // MARK: Patterns

    /// The expression that a `pattern` field has; nil where it has a text.
    static func expression(_ fields: JSONFields) throws(TokenizationError) -> TextExpression? {
        let pattern = try fields.fields("pattern")
        try pattern.allow("String", "Regex")
        guard pattern["Regex"] != nil else { return nil }
        let text = try pattern.string("Regex")
        guard let expression = TextExpression(text) else {
            throw fields.unsupported("the expression '\(text)' ('\(pattern.place(of: "Regex"))')")
        }
        return expression
    }

    /// The text that a `pattern` field looks for; an expression is refused.
    static func literalPattern(_ fields: JSONFields) throws(TokenizationError) -> [UInt8] {
        let pattern = try fields.fields("pattern")
        try pattern.allow("String", "Regex")
        if let expression = pattern["Regex"]?.stringValue {
            throw fields.unsupported("the expression '\(expression)' ('\(pattern.place(of: "Regex"))')")
        }
        return try pattern.bytes("String")
    }
}
