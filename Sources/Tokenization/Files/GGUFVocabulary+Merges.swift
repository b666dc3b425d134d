/// The merges that pieces with scores stand for.
extension GGUFVocabulary {
    /// Steps of finding all merges at most: for each token its length times the places at which it can be cut. The
    /// largest vocabularies take a tenth.
    private static let cutLimit = 1 << 28

    /// The pairs of tokens that merge, by id, the most urgent first: SentencePiece merges the pair whose joint token
    /// has the highest score, which as merges in order of score is a BPE model. Pairs of equal score are ordered as the
    /// converters of Hugging Face's libraries do: by the joint token's id, then by the pair's.
    ///
    /// There must be a score for each token. Throws `unsupported` for tokens so long, or so many merges, that they were
    /// made to cost time and memory.
    package func mergesByScore() throws(TokenizationError) -> [(left: Int, right: Int)] {
        precondition(scores.count == tokens.count, "a score for each token")
        let normal = tokens.indices.filter { types.isEmpty || types[$0] == .normal || types[$0] == .userDefined }
        let table = try tableForCuts(of: normal, in: "a tokenizer.json")
        var merges: [(left: Int32, right: Int32, joint: Int32)] = []
        for id in normal {
            let text = tokens[id]
            let first = merges.count
            for cut in text.indices.dropFirst() where text[cut] & 0xC0 != 0x80 {
                guard let left = table.id(of: text, 0..<cut), let right = table.id(of: text, cut..<text.count) else {
                    continue
                }
                merges.append((left, right, Int32(id)))
            }
            merges[first...].sort { ($0.left, $0.right) < ($1.left, $1.right) }
            guard merges.count <= Self.mergeLimit else {
                throw .unsupported(
                    file: file,
                    feature: "in a tokenizer.json a vocabulary of pieces with scores that more than "
                        + "\(Self.mergeLimit) merges make")
            }
        }
        // Tokens that were sorted before keep their order where scores are equal.
        let places = merges.indices.sorted { one, other in
            let (left, right) = (scores[Int(merges[one].joint)], scores[Int(merges[other].joint)])
            return left != right ? left > right : one < other
        }
        return places.map { (Int(merges[$0].left), Int(merges[$0].right)) }
    }

    /// The tokens `ids`, in which both parts of each of them can be looked up, wherever it is cut. Throws `unsupported`
    /// for tokens so long that this would take for ever; `form` is what they cannot be written as then.
    func tableForCuts(of ids: [Int], in form: String) throws(TokenizationError) -> TokenTable {
        // A file's tokens have at most 2^28 bytes together: no overflow.
        let steps = ids.reduce(0) { $0 + tokens[$1].count * tokens[$1].count }
        guard steps <= Self.cutLimit else {
            let longest = ids.max { tokens[$0].count < tokens[$1].count } ?? 0
            throw .unsupported(
                file: file,
                feature: "in \(form) a vocabulary of pieces with scores that are so long (token \(longest) has "
                    + "\(tokens[longest].count) bytes)")
        }
        var table = TokenTable(capacity: ids.count)
        for id in ids { _ = table.insert(tokens[id], id: Int32(id)) }
        return table
    }
}
