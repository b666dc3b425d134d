/// A part of a regular expression as it was read, before it becomes instructions.
indirect enum ExpressionNode: Sendable {
    /// Nothing, which matches everywhere.
    case empty
    /// One scalar of a set.
    case set(ScalarSet)
    /// One after another.
    case sequence([ExpressionNode])
    /// The first that leads to a match.
    case choice([ExpressionNode])
    /// As many as there can be, or as few where it is lazy; without an upper bound where `upper` is nil.
    case repetition(ExpressionNode, lower: Int, upper: Int?, isLazy: Bool)
    /// A group whose place is remembered.
    case group(ExpressionNode, number: Int)
    /// A place, which takes no scalar.
    case place(Place)
    /// What must, or must not, stand behind this place or before it.
    case look(ExpressionNode, isBehind: Bool, isNegative: Bool)

    /// A condition on a place.
    enum Place: Sendable {
        case start, end, endOrLastLineBreak, wordBoundary, noWordBoundary
    }

    /// The number of scalars of every match; nil where matches differ in it.
    var width: Int? {
        switch self {
        case .empty, .place, .look: return 0
        case .set: return 1
        case .sequence(let parts):
            var sum = 0
            for part in parts {
                guard let width = part.width else { return nil }
                let (total, overflow) = sum.addingReportingOverflow(width)
                if overflow { return nil }
                sum = total
            }
            return sum
        case .choice(let parts):
            guard let first = parts.first?.width, parts.allSatisfy({ $0.width == first }) else { return nil }
            return first
        case .repetition(let node, let lower, let upper, _):
            guard lower == upper, let width = node.width else { return nil }
            let (product, overflow) = width.multipliedReportingOverflow(by: lower)
            return overflow ? nil : product
        case .group(let node, _): return node.width
        }
    }
}

/// A set of scalars, as a class in brackets, an escape or one scalar says it.
struct ScalarSet: Sendable {
    /// The classes that `\d`, `\w` and `\s` name.
    enum Kind: Sendable {
        case digit, word, space

        func contains(_ scalar: Unicode.Scalar) -> Bool {
            let properties = scalar.properties
            switch self {
            case .digit: return properties.generalCategory == .decimalNumber
            case .space: return properties.isWhitespace || (0x1C...0x1F).contains(scalar.value)
            case .word:
                switch properties.generalCategory {
                case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter,
                    .decimalNumber, .letterNumber, .otherNumber:
                    return true
                default: return scalar == "_"
                }
            }
        }
    }

    /// Ranges of scalars' values.
    var ranges: [ClosedRange<UInt32>] = []
    /// Classes, each taken as it is or turned around.
    var kinds: [(kind: Kind, isNegative: Bool)] = []
    /// Whether it holds what it does not name.
    var isNegative = false
    /// Whether a letter stands for its other case too.
    var ignoresCase = false

    /// One scalar.
    init(_ scalar: Unicode.Scalar) { ranges = [scalar.value...scalar.value] }

    init(ranges: [ClosedRange<UInt32>] = [], kinds: [(kind: Kind, isNegative: Bool)] = [], isNegative: Bool = false) {
        self.ranges = ranges
        self.kinds = kinds
        self.isNegative = isNegative
    }

    /// The one scalar that it holds, where it is that.
    var single: Unicode.Scalar? {
        guard kinds.isEmpty, !isNegative, !ignoresCase, ranges.count == 1, let range = ranges.first, range.count == 1
        else { return nil }
        return Unicode.Scalar(range.lowerBound)
    }

    func contains(_ scalar: Unicode.Scalar) -> Bool {
        if holds(scalar) { return !isNegative }
        if ignoresCase {
            for text in [scalar.properties.lowercaseMapping, scalar.properties.uppercaseMapping] {
                let scalars = text.unicodeScalars
                if scalars.count == 1, let other = scalars.first, other != scalar, holds(other) { return !isNegative }
            }
        }
        return isNegative
    }

    private func holds(_ scalar: Unicode.Scalar) -> Bool {
        ranges.contains { $0.contains(scalar.value) } || kinds.contains { $0.kind.contains(scalar) != $0.isNegative }
    }
}
