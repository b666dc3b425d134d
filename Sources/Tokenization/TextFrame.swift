/// What stands around one text, or around each of two, when special tokens are added, and the type of each token: the
/// number of the text that a model takes it for (`token_type_ids`).
struct TextFrame: Sendable, Equatable {
    /// A part of a framed text.
    enum Piece: Sendable, Equatable {
        /// A token that is added.
        case token(Int32, type: Int32)
        /// All tokens of the first text, or of the second.
        case text(isSecond: Bool, type: Int32)
    }

    /// Around one text.
    var single: [Piece]
    /// Around two.
    var pair: [Piece]

    /// Nothing around either.
    static let none = TextFrame(
        single: [.text(isSecond: false, type: 0)],
        pair: [.text(isSecond: false, type: 0), .text(isSecond: true, type: 1)])

    /// The frame of these parts.
    init(single: [Piece], pair: [Piece]) {
        self.single = single
        self.pair = pair
    }

    /// The same tokens around each text.
    init(prefix: [Int32], suffix: [Int32]) {
        func framed(isSecond: Bool) -> [Piece] {
            let type: Int32 = isSecond ? 1 : 0
            return prefix.map { .token($0, type: type) } + [.text(isSecond: isSecond, type: type)]
                + suffix.map { .token($0, type: type) }
        }
        self.init(single: framed(isSecond: false), pair: framed(isSecond: false) + framed(isSecond: true))
    }

    /// The tokens before a single text.
    var prefix: [Int32] { Self.tokens(single.prefix { !$0.isText }) }
    /// The tokens after a single text.
    var suffix: [Int32] { Self.tokens(single.drop { !$0.isText }) }

    /// Every token that is added anywhere.
    var addedTokens: [Int32] { Self.tokens(single[...]) + Self.tokens(pair[...]) }

    /// Whether one text stands in `single` once, and both in `pair`.
    var isWhole: Bool {
        func counts(_ pieces: [Piece]) -> [Int] {
            [false, true].map { second in
                pieces.count { if case .text(let isSecond, _) = $0 { isSecond == second } else { false } }
            }
        }
        return counts(single) == [1, 0] && counts(pair) == [1, 1]
    }

    private static func tokens(_ pieces: ArraySlice<Piece>) -> [Int32] {
        pieces.compactMap { if case .token(let id, _) = $0 { id } else { nil } }
    }
}

extension TextFrame.Piece {
    /// Whether it stands for a text's tokens.
    var isText: Bool { if case .text = self { true } else { false } }
}

/// The tokens of one text or two with what is added around them.
package struct FramedTokens: Sendable, Equatable {
    package var tokens: [Int32] = []
    /// For each token the text that the model takes it for, 0 or 1.
    package var types: [Int32] = []
    /// Whether a part of a text had to be left out.
    package var isCut = false
}

extension Tokenizer {
    /// Which end of a text is left out where it is too long.
    package enum CutEnd: String, Sendable {
        case left, right
    }

    /// Tokens that are added around one text, or around two.
    package func addedTokenCount(isPair: Bool) -> Int {
        (isPair ? frame.pair : frame.single).count { !$0.isText }
    }

    /// The tokens of a text, or of two, with the special tokens around them.
    ///
    /// - Parameters:
    ///   - longest: tokens at most, those that are added too; what is more is taken off the longer text, then off both
    ///     (`longest_first` of `tokenizers`). No less than what is added.
    ///   - end: the end that is taken off.
    package func encode(
        _ first: String, and second: String?, longest: Int? = nil, cutting end: CutEnd = .right
    ) -> FramedTokens {
        var texts = [encode(first)] + (second.map { [encode($0)] } ?? [])
        var framed = FramedTokens()
        if let longest {
            let room = longest - addedTokenCount(isPair: second != nil)
            precondition(room >= 0, "no room for the tokens that are added")
            let lengths = Self.lengths(of: texts.map(\.count), room: room)
            for (index, length) in lengths.enumerated() where length < texts[index].count {
                texts[index] = Array(end == .right ? texts[index].prefix(length) : texts[index].suffix(length))
                framed.isCut = true
            }
        }
        for piece in second == nil ? frame.single : frame.pair {
            switch piece {
            case .token(let id, let type):
                framed.tokens.append(id)
                framed.types.append(type)
            case .text(let isSecond, let type):
                framed.tokens += texts[isSecond ? 1 : 0]
                framed.types += Array(repeating: type, count: texts[isSecond ? 1 : 0].count)
            }
        }
        return framed
    }

    /// How many tokens of each text stay.
    private static func lengths(of counts: [Int], room: Int) -> [Int] {
        guard counts.reduce(0, +) > room else { return counts }
        guard counts.count == 2 else { return [room] }
        let shorter = counts.min()!
        var longer = shorter > room ? shorter : max(shorter, room - shorter)
        var least = shorter
        if least + longer > room {
            least = room / 2
            longer = least + room % 2
        }
        return counts[0] > counts[1] ? [longer, least] : [least, longer]
    }
}
