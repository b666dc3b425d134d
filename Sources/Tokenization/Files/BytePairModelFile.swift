import CheckpointIO
import TensorCore

/// The `model` object of a `tokenizer.json`: a vocabulary, merges and switches.
struct BytePairModelFile {
    private let fields: JSONFields
    /// The vocabulary as the file spells it.
    private(set) var tokens: TokenTable

    /// Reads the vocabulary and refuses what is not understood.
    init(_ fields: JSONFields) throws(TokenizationError) {
        self.fields = fields
        if fields["type"] != nil || fields["merges"] == nil {
            let type = try fields.string("type")
            guard type == "BPE" else { throw fields.unsupported("the tokenizer model '\(type)'") }
        }
        try fields.allow(
            "type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk",
            "byte_fallback", "ignore_merges", "vocab", "merges")
        if let dropout = fields["dropout"]?.doubleValue, dropout != 0 {
            throw fields.unsupported("dropout of merges ('model.dropout')")
        }
        for key in ["continuing_subword_prefix", "end_of_word_suffix"] {
            if let affix = fields[key]?.stringValue, !affix.isEmpty {
                throw fields.unsupported("'\(fields.place(of: key))' of '\(affix)'")
            }
        }
        tokens = try fields.vocabulary()
    }

    /// The model; its words are bytes if a byte-level pre-tokenizer makes them.
    func makeModel(isByteLevel: Bool) throws(TokenizationError) -> BytePairModel {
        var unknownToken: Int32?
        if fields["unk_token"] != nil {
            let text = try fields.string("unk_token")
            guard let id = tokens.id(of: Array(text.utf8)) else {
                throw .malformed(file: fields.file, problem: "the unknown token '\(text)' is not in the vocabulary")
            }
            unknownToken = id
        }
        let hasFallback = try fields.bool("byte_fallback", default: false)
        return BytePairModel(
            isByteLevel: isByteLevel, tokens: tokens, merges: try merges(),
            fallbackTokens: hasFallback ? tokens.fallbackTokens() : nil, unknownToken: unknownToken,
            fusesUnknown: try fields.bool("fuse_unk", default: false),
            ignoresMerges: try fields.bool("ignore_merges", default: false))
    }

    private func merges() throws(TokenizationError) -> MergeTable {
        let list = try fields.list("merges")
        var table = MergeTable(capacity: list.count)
        for (rank, value) in list.enumerated() {
            let pair: [[UInt8]]
            if let text = value.stringValue {
                pair = text.utf8.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false).map { Array($0) }
            } else {
                pair = (value.arrayValue ?? []).compactMap { $0.stringValue.map { Array($0.utf8) } }
            }
            guard pair.count == 2, table.add(pair[0], pair[1], rank: rank, of: tokens) else {
                throw .malformed(
                    file: fields.file,
                    problem: "merge \(rank + 1), \(value.text()), does not join two tokens into a third")
            }
        }
        return table
    }
}

extension MergeTable {
    /// Adds a merge given as texts; false where one of the three texts is no token.
    mutating func add(_ left: [UInt8], _ right: [UInt8], rank: Int, of tokens: TokenTable) -> Bool {
        guard let leftID = tokens.id(of: left), let rightID = tokens.id(of: right),
            let id = tokens.id(of: left + right), let rank = UInt32(exactly: rank)
        else { return false }
        set(leftID, rightID, rank: rank, becomes: id)
        return true
    }
}

extension TokenTable {
    /// For each byte the id of its token `<0x00>`...`<0xFF>`, -1 where there is none.
    func fallbackTokens() -> [Int32] {
        (UInt8.min...UInt8.max).map { byte in
            let digits = String(byte, radix: 16, uppercase: true)
            return id(of: Array("<0x\(byte < 16 ? "0" : "")\(digits)>".utf8)) ?? -1
        }
    }
}
