import CheckpointIO
import TensorCore

/// The tokens that begin and end texts, as a checkpoint tells them.
extension ModelFields {
    /// GGUF's own keys for the ends of a text, a turn and a message.
    static let ggufEndTokenKeys = ["eos", "eot", "eom"].map { "tokenizer.ggml.\($0)_token_id" }

    /// The token that fills up; nil where none is named.
    var padTokenID: Int? {
        if let gguf { return gguf.metadata["tokenizer.ggml.padding_token_id"]?.integer(in: .tokenIDs) }
        return json?.member("pad_token_id")?.integer(in: .tokenIDs)
    }

    /// The deviation of new weights.
    var initializerRange: Double { json?.member("initializer_range")?.doubleValue ?? 0.02 }

    /// The token that begins a text; `assumed` where `config.json` has not even the key.
    func bosTokenID(assumed: Int?) throws(ModelError) -> Int? {
        if let gguf { return gguf.metadata["tokenizer.ggml.bos_token_id"]?.integer(in: .tokenIDs) }
        guard let json, json.hasKey("bos_token_id") else { return assumed }
        return try json.tokenIDs("bos_token_id").first
    }

    /// The tokens that end a text; `assumed` where `config.json` has not even the key.
    func eosTokenIDs(assumed: Int?, vocabularySize: Int) throws(ModelError) -> [Int] {
        if let gguf { return try Self.endTokenIDs(gguf, vocabularySize: vocabularySize) }
        guard let json, json.hasKey("eos_token_id") else { return [assumed].compactMap { $0 } }
        return try json.tokenIDs("eos_token_id")
    }

    private static func endTokenIDs(_ fields: GGUFFields, vocabularySize: Int) throws(ModelError) -> [Int] {
        let key = ModelConfiguration.ggufEndTokensKey
        if let value = fields.metadata[key] {
            guard let count = value.elementCount, count <= vocabularySize, vocabularySize > 0,
                let ids = value.integers(in: 0...vocabularySize - 1)
            else { throw fields.bad(key, "a list of token ids below \(vocabularySize)", "something else") }
            return ids
        }
        var ends: [Int] = []
        for key in ggufEndTokenKeys {
            if let id = fields.metadata[key]?.integer(in: .tokenIDs), !ends.contains(id) { ends.append(id) }
        }
        return ends
    }
}
