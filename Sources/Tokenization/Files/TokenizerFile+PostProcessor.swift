import CheckpointIO
import TensorCore

/// The `post_processor` of a `tokenizer.json`.
extension TokenizerFile {
    /// What it puts around texts; nil where that is nothing.
    static func frame(_ fields: JSONFields) throws(TokenizationError) -> TextFrame? {
        let type = try fields.string("type")
        switch type {
        case "ByteLevel":
            // Changes offsets only.
            try fields.allow("type", "add_prefix_space", "trim_offsets", "use_regex")
            return nil
        case "Sequence":
            try fields.allow("type", "processors")
            var frame: TextFrame?
            for inner in try fields.fieldsList("processors") {
                guard let next = try Self.frame(inner) else { continue }
                guard frame == nil else { throw fields.unsupported("a second post-processor that adds tokens") }
                frame = next
            }
            return frame
        case "BertProcessing", "RobertaProcessing":
            try fields.allow("type", "sep", "cls", "trim_offsets", "add_prefix_space")
            return classFrame(
                begin: try token("cls", of: fields), end: try token("sep", of: fields), isBert: type.hasPrefix("Bert"))
        case "TemplateProcessing":
            try fields.allow("type", "single", "pair", "special_tokens")
            var frame = TextFrame(single: try template("single", of: fields), pair: TextFrame.none.pair)
            if fields["pair"] != nil { frame.pair = try template("pair", of: fields) }
            guard frame.isWhole else {
                let isPair = TextFrame(single: frame.single, pair: TextFrame.none.pair).isWhole
                throw isPair
                    ? fields.malformed("pair", "a template with each text in it once")
                    : fields.malformed("single", "a template with the text in it once")
            }
            return frame
        default:
            throw fields.unsupported("the post-processor '\(type)' ('\(fields.place(of: "type"))')")
        }
    }

    /// `[CLS] A [SEP] B [SEP]` with BERT's types, or `<s> A </s></s> B </s>`, all of one type, as RoBERTa has it.
    private static func classFrame(begin: Int32, end: Int32, isBert: Bool) -> TextFrame {
        let single: [TextFrame.Piece] = [
            .token(begin, type: 0), .text(isSecond: false, type: 0), .token(end, type: 0),
        ]
        let second: [TextFrame.Piece] =
            isBert
            ? [.text(isSecond: true, type: 1), .token(end, type: 1)]
            : [.token(end, type: 0), .text(isSecond: true, type: 0), .token(end, type: 0)]
        return TextFrame(single: single, pair: single + second)
    }

    /// The id in a pair of a token's text and its id.
    private static func token(_ key: String, of fields: JSONFields) throws(TokenizationError) -> Int32 {
        let pair = try fields.list(key)
        guard pair.count == 2, pair[0].stringValue != nil, let id = pair[1].integer(in: .tokenIDs),
            let id = Int32(exactly: id)
        else { throw fields.malformed(key, "a token and its id") }
        return id
    }

    private static func template(_ key: String, of fields: JSONFields) throws(TokenizationError) -> [TextFrame.Piece] {
        var pieces: [TextFrame.Piece] = []
        for piece in try fields.fieldsList(key) {
            try piece.allow("SpecialToken", "Sequence")
            if piece["Sequence"] != nil {
                let text = try piece.fields("Sequence")
                let name = try text["id"] == nil ? "A" : text.string("id")
                guard name == "A" || name == "B" else { throw text.malformed("id", "A or B") }
                pieces.append(.text(isSecond: name == "B", type: try type(of: text)))
                continue
            }
            let special = try piece.fields("SpecialToken")
            let token = try fields.fields("special_tokens").fields(special.string("id"))
            for value in try token.list("ids") {
                guard let id = value.integer(in: .tokenIDs), let id = Int32(exactly: id) else {
                    throw token.malformed("ids", "a list of token ids")
                }
                pieces.append(.token(id, type: try type(of: special)))
            }
        }
        return pieces
    }

    /// A token's type; models have one or two.
    private static func type(of fields: JSONFields) throws(TokenizationError) -> Int32 {
        let type = try fields["type_id"] == nil ? 0 : fields.natural("type_id")
        guard type <= 1 else { throw fields.malformed("type_id", "0 or 1") }
        return Int32(type)
    }
}
