import CheckpointIO
import TensorCore

/// The `decoder` of a `tokenizer.json`.
extension TokenizerFile {
    /// Its steps.
    static func decoderSteps(_ fields: JSONFields) throws(TokenizationError) -> [TokenDecoder.Step] {
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
        case "WordPiece":
            try fields.allow("type", "prefix", "cleanup")
            return [
                .wordPiece(
                    mark: Array(try fields.string("prefix").utf8), cleans: try fields.bool("cleanup", default: true))
            ]
        default:
            throw fields.unsupported("the decoder '\(type)' ('\(fields.place(of: "type"))')")
        }
    }
}
