/// Words of a message in which parameters stand as such, so that who shows the message can spell them: as an argument's
/// name in Swift (`description`), or as a program's option.
///
/// Written as an interpolated string: `"\(file): exists; pass \(.replaces, true)"`. An error or a wording within keeps
/// its parameters.
package struct Wording: Sendable, Hashable {
    private enum Piece: Sendable, Hashable {
        case text(String)
        case parameter(Parameter, value: String?)
    }

    /// Texts beside each other are one piece.
    private var pieces: [Piece]

    /// Words without parameters.
    package init(_ text: String) {
        pieces = [.text(text)]
    }

    /// What `error` says.
    package init(_ error: any Error) {
        self = (error as? any WordedError)?.wording ?? Wording(String(describing: error))
    }

    /// The words, with each parameter, and the value that is given or advised for it where there is one, as `spelling`
    /// has it.
    package func text(_ spelling: (_ parameter: Parameter, _ value: String?) -> String) -> String {
        pieces.reduce(into: "") { text, piece in
            switch piece {
            case .text(let words): text += words
            case .parameter(let parameter, let value): text += spelling(parameter, value)
            }
        }
    }

    /// One after the other.
    package static func + (left: Wording, right: Wording) -> Wording {
        var sum = left
        for piece in right.pieces { sum.append(piece) }
        return sum
    }

    private mutating func append(_ piece: Piece) {
        if case .text(let more) = piece, case .text(let words) = pieces.last {
            pieces[pieces.count - 1] = .text(words + more)
        } else {
            pieces.append(piece)
        }
    }

    /// One after the other.
    package static func + (left: Wording, right: String) -> Wording { left + Wording(right) }
}

extension Wording: CustomStringConvertible {
    /// The words with parameters as Swift has them: `name`, or `name: value`.
    package var description: String {
        text { parameter, value in parameter.name + (value.map { ": \($0)" } ?? "") }
    }
}

extension Wording: ExpressibleByStringInterpolation {
    /// The parts of an interpolated wording.
    package struct StringInterpolation: StringInterpolationProtocol {
        fileprivate var wording = Wording("")

        package init(literalCapacity: Int, interpolationCount: Int) {}

        package mutating func appendLiteral(_ literal: String) {
            wording.append(.text(literal))
        }

        /// A parameter by its name.
        package mutating func appendInterpolation(_ parameter: Parameter) {
            wording.append(.parameter(parameter, value: nil))
        }

        /// A parameter with a value: for one that is true or false, `true`.
        package mutating func appendInterpolation(_ parameter: Parameter, _ value: some CustomStringConvertible) {
            wording.append(.parameter(parameter, value: value.description))
        }

        /// Anything else: wordings, and errors that have one, with their parameters.
        package mutating func appendInterpolation<Value>(_ value: Value) {
            let added = value as? Wording ?? (value as? any WordedError)?.wording
            // An interpolated literal would be a wording, and come back here.
            wording = wording + (added ?? Wording(String(describing: value)))
        }
    }

    package init(stringInterpolation: StringInterpolation) {
        self = stringInterpolation.wording
    }

    package init(stringLiteral: String) {
        self.init(stringLiteral)
    }
}

/// An error whose sentence names parameters.
package protocol WordedError: ReportableError {
    /// The sentence.
    var wording: Wording { get }
}

extension WordedError {
    /// The sentence with parameters as Swift has them.
    package var description: String { wording.description }
}
