import TensorCore

/// A model's tokenizer: text to token ids and back, equal to Hugging Face's `tokenizers` id for id.
///
/// Immutable, so one tokenizer may serve many threads.
package final class Tokenizer: Sendable {
    /// One more than the largest token id. A model's embedding may have more rows.
    package let vocabularySize: Int
    /// The token that begins a text, where the model names one.
    package let bosTokenID: Int32?
    /// The token that ends a text or a turn, where the model names one.
    package let eosTokenID: Int32?
    /// The model's way to write conversations; nil where it has none, or one that cannot be read (see
    /// `chatTemplateProblem`).
    package let chatTemplate: ChatTemplate?
    /// Why the model's chat template cannot be used; nil where there is none, or it can.
    package let chatTemplateProblem: String?

    /// The end of a text that is left out where it is too long.
    package let cutEnd: CutEnd

    private let parts: TokenizerParts
    private let rawMatcher: AddedTokenMatcher
    private let normalizedMatcher: AddedTokenMatcher
    private let specialTokens: Set<Int32>
    /// What added tokens decode as where that is not their own text: found in normalized text, they give that back.
    private let normalizedTexts: [Int32: [UInt8]]

    /// Assembles a tokenizer from what a file said.
    ///
    /// - Parameters:
    ///   - namedTokens: further tokens by the names that chat templates know them by, such as `pad_token`.
    ///   - cutEnd: the end of a text that is left out where it is too long.
    init(
        _ parts: TokenizerParts, bosTokenID: Int32?, eosTokenID: Int32?, namedTokens: NameTable<String>,
        chatTemplates: ChatTemplateTexts, cutEnd: CutEnd = .right
    ) {
        self.parts = parts
        self.cutEnd = cutEnd
        self.bosTokenID = bosTokenID
        self.eosTokenID = eosTokenID
        vocabularySize = parts.tokens.idBound
        rawMatcher = AddedTokenMatcher(parts.added.filter { !$0.isNormalized }.map { ($0.content, $0) })
        let normalized = parts.added.filter(\.isNormalized).map { token in
            let content = TrackedText(bytes: token.content, offset: 0, isTracked: false)
            return (pattern: parts.normalizers.reduce(content) { $1.apply(to: $0) }.bytes, token: token)
        }
        normalizedMatcher = AddedTokenMatcher(normalized.filter { !$0.pattern.isEmpty })
        normalizedTexts = Dictionary(normalized.map { ($0.token.id, $0.pattern) }) { first, _ in first }
        specialTokens = Set(parts.added.filter(\.isSpecial).map(\.id))
        func text(of id: Int32?) -> String? {
            id.flatMap { parts.tokens[$0] }.map { String(decoding: $0, as: UTF8.self) }
        }
        var namedTokens = namedTokens
        namedTokens["bos_token"] = text(of: bosTokenID)
        namedTokens["eos_token"] = text(of: eosTokenID)
        var template: ChatTemplate?
        var problem: String?
        do throws(TokenizationError) {
            template = try ChatTemplate(
                chatTemplates, specialTokens: namedTokens, marks: specialTokens.compactMap { text(of: $0) })
        } catch {
            problem = error.description
        }
        chatTemplate = template
        chatTemplateProblem = problem
    }

    // MARK: Encoding

    /// The tokens of `text`. Added tokens that stand in it, such as `<|im_end|>`, become those tokens.
    ///
    /// - Parameter addingSpecialTokens: whether to add what the tokenizer adds around a text, such as the beginning
    /// token.
    package func encode(_ text: String, addingSpecialTokens: Bool = false) -> [Int32] {
        var sink = TokenSink()
        encode(utf8: Array(text.utf8), addingSpecialTokens: addingSpecialTokens, into: &sink)
        return sink.ids
    }

    /// The tokens of text in UTF-8. Invalid bytes count as U+FFFD, one for each maximal part of a character, as
    /// Python's `bytes.decode(errors="replace")` has it.
    package func encode(bytes: [UInt8], addingSpecialTokens: Bool = false) -> [Int32] {
        encode(String(decoding: bytes, as: UTF8.self), addingSpecialTokens: addingSpecialTokens)
    }

    /// The tokens of a text that is given in pieces, encoded as the whole that they make up, and for each token whether
    /// it is scored: whether any of it comes from a scored piece, as a token may hold the space before an answer and
    /// its first word.
    package func encode(
        _ segments: [ChatSegment], addingSpecialTokens: Bool = false
    ) -> (tokens: [Int32], scored: [Bool]) {
        var bytes: [UInt8] = []
        var ends: [Int] = []
        for segment in segments {
            bytes.append(contentsOf: segment.text.utf8)
            ends.append(bytes.count)
        }
        var sink = TokenSink(tracksSources: true)
        encode(utf8: bytes, addingSpecialTokens: addingSpecialTokens, into: &sink)
        var segment = 0
        let scored = sink.sources.map { source in
            while segment < ends.count, source.lowerBound >= ends[segment] { segment += 1 }
            var touched = segment
            while touched < ends.count {
                if segments[touched].isScored, !segments[touched].text.isEmpty, !source.isEmpty { return true }
                if source.upperBound <= ends[touched] { return false }
                touched += 1
            }
            return false
        }
        return (sink.ids, scored)
    }

    private func encode(utf8 bytes: [UInt8], addingSpecialTokens: Bool, into sink: inout TokenSink) {
        if addingSpecialTokens { for id in parts.frame.prefix { sink.append(id, for: 0..<0) } }
        var memory = WorkingMemory()
        for stretch in rawMatcher.stretches(in: bytes) {
            if let id = stretch.token {
                sink.append(id, for: stretch.range)
                continue
            }
            let beginsSource = stretch.range.lowerBound == 0
            let plain = TrackedText(
                bytes: stretch.range.count == bytes.count ? bytes : Array(bytes[stretch.range]),
                offset: stretch.range.lowerBound, isTracked: sink.tracksSources)
            let text = parts.normalizers.reduce(plain) { $1.apply(to: $0) }
            for stretch in normalizedMatcher.stretches(in: text.bytes) {
                if let id = stretch.token {
                    sink.append(id, for: stretch.range, of: text)
                } else {
                    let piece = stretch.range.count == text.bytes.count ? text : text.copy(stretch.range)
                    let begins = beginsSource && stretch.range.lowerBound == 0
                    encode(WordList(text: piece, beginsSource: begins), using: &memory, into: &sink)
                }
            }
        }
        if addingSpecialTokens { for id in parts.frame.suffix { sink.append(id, for: bytes.count..<bytes.count) } }
    }

    /// What models keep from word to word, so that no word makes it anew.
    private struct WorkingMemory {
        var merger = PairMerger()
        var lattice = UnigramModel.Lattice()
    }

    private func encode(_ piece: WordList, using memory: inout WorkingMemory, into sink: inout TokenSink) {
        var words = piece
        for step in parts.preTokenizers { words.apply(step) }
        let text = words.text
        switch parts.model {
        case .bytePair(let model):
            for word in words.words { model.encode(word, of: text, using: &memory.merger, into: &sink) }
        case .scoredPieces(let model):
            for word in words.words { model.encode(word, of: text, using: &memory.merger, into: &sink) }
        case .wordPiece(let model):
            for word in words.words { model.encode(word, of: text, using: &memory.merger.symbols, into: &sink) }
        case .unigram(let model):
            for word in words.words { model.encode(word, of: text, using: &memory.lattice, into: &sink) }
        }
    }

    /// What stands around texts.
    var frame: TextFrame { parts.frame }

    // MARK: Decoding

    /// The text that `ids` stand for; bytes that are no UTF-8 become U+FFFD, ids without a token nothing.
    package func decode(_ ids: [Int32], skippingSpecialTokens: Bool = true) -> String {
        let texts = ids.compactMap { id -> [UInt8]? in
            if skippingSpecialTokens, specialTokens.contains(id) { return nil }
            return text(of: id)
        }
        return parts.decoder.decode(texts)
    }

    /// The bytes that one token adds to a text, special or not; none for an id without a token. A character may be
    /// spread over several tokens: see `TokenStream`.
    package func bytes(ofToken id: Int32) -> [UInt8] {
        text(of: id).map(parts.decoder.bytes(of:)) ?? []
    }

    private func text(of id: Int32) -> [UInt8]? {
        normalizedTexts[id] ?? parts.tokens[id].map { Array($0) }
    }

    /// What bytes of tokens stand for: those that begin no character become U+FFFD as `decode` has it, one for each byte
    /// where they are tokens of their own, else one for each part of a character.
    fileprivate func text(of bytes: ArraySlice<UInt8>) -> String {
        guard parts.decoder.steps.contains(.byteFallback) else { return String(decoding: bytes, as: UTF8.self) }
        var text = ""
        var parser = Unicode.UTF8.ForwardParser()
        var rest = bytes.makeIterator()
        while true {
            switch parser.parseScalar(from: &rest) {
            case .valid(let character): text.unicodeScalars.append(Unicode.UTF8.decode(character))
            case .error(let length): text += String(repeating: "\u{FFFD}", count: length)
            case .emptyInput: return text
            }
        }
    }

    /// A token as the vocabulary spells it; empty for an id without one.
    package func spelling(of id: Int32) -> String { parts.tokens[id].map { String(decoding: $0, as: UTF8.self) } ?? "" }

    /// The first of these tokens that an embedding of so many rows has none for, in words that follow what has it; nil
    /// where there is none.
    package func strangeToken(in tokens: [Int32], rows: Int) -> String? {
        tokens.first { $0 < 0 || Int($0) >= rows }.map { token in
            "has the token '\(spelling(of: token))' with id \(token), but the model's embedding has \(rows) rows"
        }
    }

    /// Whether a token is special: no text of its own, left out by `decode`.
    package func isSpecial(_ id: Int32) -> Bool { specialTokens.contains(id) }

    /// The id of a token as the vocabulary spells it (a byte-level one writes a space as "Ġ"), or of an added token.
    package func tokenID(_ token: String) -> Int32? { parts.tokens.id(of: Array(token.utf8)) }
}

/// What a tokenizer is made of, whichever file says so.
struct TokenizerParts: Sendable {
    /// The algorithm that turns a word into tokens.
    enum Model: Sendable {
        case bytePair(BytePairModel)
        case scoredPieces(ScoredPieceModel)
        case wordPiece(WordPieceModel)
        case unigram(UnigramModel)
    }

    /// All tokens, added ones too, as the vocabulary spells them.
    var tokens: TokenTable
    var added: [AddedToken]
    var normalizers: [Normalizer]
    var preTokenizers: [PreTokenizer]
    var model: Model
    var decoder: TokenDecoder
    /// What stands around texts when special tokens are added.
    var frame: TextFrame
}

/// Turns tokens into text as they come, holding back the bytes of an unfinished character.
package struct TokenStream: Sendable {
    private let tokenizer: Tokenizer
    private var held: [UInt8] = []

    /// A stream at its beginning; what it gives continues a text, so the first word keeps its space.
    package init(_ tokenizer: Tokenizer) {
        self.tokenizer = tokenizer
    }

    /// The text that `id` completes; special tokens give none.
    package mutating func append(_ id: Int32) -> String {
        if !tokenizer.isSpecial(id) { held += tokenizer.bytes(ofToken: id) }
        let complete = held.count - Self.unfinishedTail(of: held)
        defer { held.removeFirst(complete) }
        return tokenizer.text(of: held[..<complete])
    }

    /// What is held back at the end, as U+FFFD.
    package mutating func finish() -> String {
        defer { held = [] }
        return tokenizer.text(of: held[...])
    }

    /// How many bytes at the end begin a character whose rest may still come.
    private static func unfinishedTail(of bytes: [UInt8]) -> Int {
        for length in 1...3 where length <= bytes.count {
            let byte = bytes[bytes.count - length]
            if byte & 0xC0 == 0x80 { continue }
            return byte >= 0xC2 && byte <= 0xF4 && UTF8Scalar.length(lead: byte) > length ? length : 0
        }
        return 0
    }
}
