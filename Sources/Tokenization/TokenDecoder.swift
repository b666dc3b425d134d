/// Turns the texts of tokens back into text, step by step as a tokenizer file lists them.
struct TokenDecoder: Sendable, Equatable {
    /// A step, by the names of `tokenizers`.
    enum Step: Sendable, Equatable {
        /// Letters of the byte alphabet become their bytes; a token that has others stays as it is.
        case byteLevel
        /// Every `pattern`, which is not empty, becomes `content`.
        case replace(pattern: [UInt8], content: [UInt8])
        /// `<0x41>` becomes the byte; a run of such that is not UTF-8 becomes U+FFFD for each byte.
        case byteFallback
        /// All tokens become one.
        case fuse
        /// Takes up to so many of one character off both ends of each token.
        case strip(character: [UInt8], start: Int, stop: Int)
        /// `replacement` becomes a space, but is dropped in the first token where the tokenizer had added it.
        case metaspace(replacement: [UInt8], dropsFirst: Bool)
        /// Tokens get a space before them, but for the first and those that begin with `mark`, which lose it; `cleans`
        /// takes the space before English punctuation and contractions.
        case wordPiece(mark: [UInt8], cleans: Bool)
    }

    /// No steps: tokens are joined by spaces.
    var steps: [Step]

    private static let alphabet = ByteAlphabet()
    private static let replacementCharacter = Array("\u{FFFD}".utf8)

    /// The text of a list of tokens.
    func decode(_ tokens: [[UInt8]]) -> String {
        if steps.isEmpty { return tokens.map { String(decoding: $0, as: UTF8.self) }.joined(separator: " ") }
        let decoded = steps.reduce(tokens) { Self.apply($1, to: $0) }
        return String(decoding: decoded.joined(), as: UTF8.self)
    }

    /// The bytes that one token adds in the middle of a text.
    func bytes(of token: [UInt8]) -> [UInt8] {
        var bytes = token
        for step in steps {
            switch step {
            case .byteLevel: bytes = Self.alphabet.decode(bytes) ?? bytes
            case .byteFallback: if let byte = Self.fallbackByte(bytes) { return [byte] }
            case .metaspace(let replacement, _): bytes = Self.replace(replacement, by: [UInt8(ascii: " ")], in: bytes)
            case .replace(let pattern, let content): bytes = Self.replace(pattern, by: content, in: bytes)
            case .wordPiece(let mark, let cleans): bytes = Self.wordPiece(bytes, mark: mark, cleans: cleans)
            case .fuse: break
            // What is stripped are the ends of the whole text.
            case .strip: break
            }
        }
        return bytes
    }

    private static func apply(_ step: Step, to tokens: [[UInt8]]) -> [[UInt8]] {
        switch step {
        case .byteLevel:
            let bytes = tokens.flatMap { alphabet.decode($0) ?? $0 }
            return [Array(String(decoding: bytes, as: UTF8.self).utf8)]
        case .replace(let pattern, let content):
            return tokens.map { replace(pattern, by: content, in: $0) }
        case .byteFallback:
            return joinFallbackBytes(tokens)
        case .fuse:
            return [Array(tokens.joined())]
        case .strip(let character, let start, let stop):
            return tokens.map { strip(character, start: start, stop: stop, from: $0) }
        case .metaspace(let replacement, let dropsFirst):
            return tokens.enumerated().map { index, token in
                replace(replacement, by: index == 0 && dropsFirst ? [] : [UInt8(ascii: " ")], in: token)
            }
        case .wordPiece(let mark, let cleans):
            return tokens.enumerated().map { index, token in
                index > 0
                    ? wordPiece(token, mark: mark, cleans: cleans) : cleans ? cleaned(token) : token
            }
        }
    }

    /// A token of WordPiece's in the middle of a text.
    private static func wordPiece(_ token: [UInt8], mark: [UInt8], cleans: Bool) -> [UInt8] {
        let text = token.starts(with: mark) ? Array(token.dropFirst(mark.count)) : [UInt8(ascii: " ")] + token
        return cleans ? cleaned(text) : text
    }

    /// What loses a space or letters when text is cleaned, in the order of `tokenizers`.
    private static let cleanings = [
        (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m"),
        (" do not", " don't"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re"),
    ].map { (Array($0.utf8), Array($1.utf8)) }

    private static func cleaned(_ text: [UInt8]) -> [UInt8] {
        cleanings.reduce(text) { replace($1.0, by: $1.1, in: $0) }
    }

    private static func replace(_ pattern: [UInt8], by content: [UInt8], in token: [UInt8]) -> [UInt8] {
        TrackedText(bytes: token, offset: 0, isTracked: false).replacing(pattern, with: content).bytes
    }

    /// The byte of a token such as `<0x0A>`.
    private static func fallbackByte(_ token: [UInt8]) -> UInt8? {
        guard token.count == 6, token.starts(with: Array("<0x".utf8)), token[5] == UInt8(ascii: ">") else { return nil }
        return UInt8(String(decoding: token[3..<5], as: UTF8.self), radix: 16)
    }

    private static func joinFallbackBytes(_ tokens: [[UInt8]]) -> [[UInt8]] {
        var joined: [[UInt8]] = []
        var run: [UInt8] = []
        func endRun() {
            if String(validating: run, as: UTF8.self) != nil {
                joined.append(run)
            } else {
                joined.append(contentsOf: run.map { _ in replacementCharacter })
            }
            run = []
        }
        for token in tokens {
            if let byte = fallbackByte(token) {
                run.append(byte)
                continue
            }
            if !run.isEmpty { endRun() }
            joined.append(token)
        }
        if !run.isEmpty { endRun() }
        return joined
    }

    private static func strip(_ character: [UInt8], start: Int, stop: Int, from token: [UInt8]) -> [UInt8] {
        var range = 0..<token.count
        var left = start
        while left > 0, range.count >= character.count, token.hasBytes(character, at: range.lowerBound) {
            range = range.lowerBound + character.count..<range.upperBound
            left -= 1
        }
        left = stop
        while left > 0, range.count >= character.count {
            let place = range.upperBound - character.count
            guard token.hasBytes(character, at: place) else { break }
            range = range.lowerBound..<place
            left -= 1
        }
        return Array(token[range])
    }
}
