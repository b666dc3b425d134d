import Tokenization

/// Turns the parts of a prompt and what follows it into token ids, the same way in training, evaluation and generation.
///
/// A text is tokenized by itself and its ids are appended to those before it, so a prompt's ids never depend on what
/// follows: the ids that a model is trained to continue are the ids that it is given to continue. A space at the start
/// of a completion is kept and becomes part of its first token (`" good"` is one token of most vocabularies, `"good"`
/// another one), so write it where the model should say it.
///
/// Tokenizers that put a space before every text (SentencePiece's dummy prefix) do so at the start of a sequence alone:
/// a continuation gets none, as if prompt and completion had been tokenized in one.
package struct SequenceEncoder: Sendable {
    /// The tokenizer.
    package let tokenizer: Tokenizer
    /// What the tokenizer puts at the start of every sequence by itself: the beginning-of-text token or nothing.
    package let leadingTokens: [Int32]
    private let addsSpaceBeforeTexts: Bool
    private let anchorTokens: [Int32]

    /// A text that no token reaches over, to tokenize a continuation behind.
    private static let anchor = "a\n"

    /// An encoder for one tokenizer.
    package init(tokenizer: Tokenizer) {
        self.tokenizer = tokenizer
        let bare = tokenizer.encode("a", addingSpecialTokens: false)
        let wrapped = tokenizer.encode("a", addingSpecialTokens: true)
        let start = wrapped.indices.first { wrapped[$0...].starts(with: bare) } ?? 0
        leadingTokens = Array(wrapped[..<start])
        addsSpaceBeforeTexts = bare.flatMap { tokenizer.bytes(ofToken: $0) } != [UInt8(ascii: "a")]
        anchorTokens = tokenizer.encode(Self.anchor, addingSpecialTokens: false)
    }

    /// The ids of a text at the start of a sequence, behind `leadingTokens` unless the text begins with them itself
    /// (as many chat templates do).
    package func encodeStart(_ text: String) -> [Int32] {
        let ids = tokenizer.encode(text, addingSpecialTokens: false)
        return ids.starts(with: leadingTokens) ? ids : leadingTokens + ids
    }

    /// The ids of a text that follows the ids `before`.
    package func encode(_ text: String, after before: [Int32]) -> [Int32] {
        guard addsSpaceBeforeTexts, let last = before.last, !tokenizer.isSpecial(last) else {
            return tokenizer.encode(text, addingSpecialTokens: false)
        }
        let ids = tokenizer.encode(Self.anchor + text, addingSpecialTokens: false)
        guard ids.starts(with: anchorTokens) else { return tokenizer.encode(text, addingSpecialTokens: false) }
        return Array(ids.dropFirst(anchorTokens.count))
    }

    /// The ids of a conversation as its chat template writes it, tokenized in one as transformers does, behind
    /// `leadingTokens` unless the template wrote them, with for each token whether its segment is scored.
    package func encode(_ segments: [ChatSegment]) -> (tokens: [Int32], scored: [Bool]) {
        let (tokens, scored) = tokenizer.encode(segments)
        if tokens.starts(with: leadingTokens) { return (tokens, scored) }
        return (leadingTokens + tokens, Array(repeating: false, count: leadingTokens.count) + scored)
    }
}
