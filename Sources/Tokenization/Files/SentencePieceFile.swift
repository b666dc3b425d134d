import CheckpointIO
import TensorCore

/// What a SentencePiece model holds (`sentencepiece_model.proto`): `spm.model`, `sentencepiece.bpe.model`, `spiece.model`.
struct SentencePieceFile {
    /// What a piece is for, as the file numbers it.
    enum Kind: UInt64 {
        case normal = 1
        case unknown, control, userDefined, unused, byte
    }

    /// A token.
    struct Piece {
        var text: [UInt8] = []
        /// The log probability.
        var score: Float = 0
        var kind = Kind.normal
    }

    let file: String
    private(set) var pieces: [Piece] = []
    /// How the pieces were learned: 1 unigram, 2 byte pairs.
    private(set) var algorithm: UInt64 = 1
    private(set) var fallsBackToBytes = false
    /// Whether the mark of a space goes after words.
    private(set) var marksEnds = false
    /// What characters become; nil where they stay.
    private(set) var characterMap: CharacterMap?
    private(set) var addsDummyPrefix = true
    private(set) var removesExtraSpaces = true
    private(set) var escapesSpaces = true

    /// Reads the bytes of `file`; throws `malformed` for what is none.
    init(_ bytes: [UInt8], file: String) throws(TokenizationError) {
        self.file = file
        var message = ProtocolBuffer(bytes[...])
        while !message.isAtEnd {
            guard let (field, value) = message.next() else { throw broken }
            guard case .bytes(let inner) = value else { continue }
            switch field {
            case 1: pieces.append(try piece(inner))
            case 2: try readTraining(inner)
            case 3: try readNormalization(inner)
            default: break
            }
            guard pieces.count <= TokenTable.idLimit else {
                throw .unsupported(file: file, feature: "a vocabulary of more than \(TokenTable.idLimit) tokens")
            }
        }
        guard !pieces.isEmpty else { throw broken }
    }

    private var broken: TokenizationError { .malformed(file: file, problem: "is not a SentencePiece model") }

    private func piece(_ bytes: ArraySlice<UInt8>) throws(TokenizationError) -> Piece {
        var piece = Piece()
        var message = ProtocolBuffer(bytes)
        while !message.isAtEnd {
            switch message.next() {
            case (1, .bytes(let text))?: piece.text = Array(text)
            case (2, .fixed32(let bits))?: piece.score = Float(bitPattern: bits)
            case (3, .number(let number))?:
                guard let kind = Kind(rawValue: number) else {
                    throw .malformed(file: file, problem: "piece \(pieces.count) has the unknown type \(number)")
                }
                piece.kind = kind
            case nil: throw broken
            default: break
            }
        }
        guard !piece.text.isEmpty, String(validating: piece.text, as: UTF8.self) != nil else {
            throw .malformed(file: file, problem: "piece \(pieces.count) has no text in UTF-8")
        }
        return piece
    }

    private mutating func readTraining(_ bytes: ArraySlice<UInt8>) throws(TokenizationError) {
        var message = ProtocolBuffer(bytes)
        while !message.isAtEnd {
            switch message.next() {
            case (3, .number(let number))?: algorithm = number
            case (24, .number(let number))?: marksEnds = number != 0
            case (35, .number(let number))?: fallsBackToBytes = number != 0
            case nil: throw broken
            default: break
            }
        }
    }

    private mutating func readNormalization(_ bytes: ArraySlice<UInt8>) throws(TokenizationError) {
        var message = ProtocolBuffer(bytes)
        while !message.isAtEnd {
            switch message.next() {
            case (2, .bytes(let table))?:
                if table.isEmpty { continue }
                characterMap = CharacterMap(Array(table))
                guard characterMap != nil else {
                    throw .malformed(file: file, problem: "its table of characters cannot be read")
                }
            case (3, .number(let number))?: addsDummyPrefix = number != 0
            case (4, .number(let number))?: removesExtraSpaces = number != 0
            case (5, .number(let number))?: escapesSpaces = number != 0
            case nil: throw broken
            default: break
            }
        }
    }
}
