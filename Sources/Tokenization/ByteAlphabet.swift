/// GPT-2's printable alphabet for bytes, in which byte-level vocabularies are written: printable Latin-1 characters
/// stand for themselves, the other 68 bytes for U+0100 and on, in order (a space is "Ġ").
struct ByteAlphabet: Sendable {
    private let scalars: [Unicode.Scalar]
    private let bytes: [UInt8?]

    /// Builds the two tables.
    init() {
        var scalars: [Unicode.Scalar] = []
        var bytes = [UInt8?](repeating: nil, count: 0x144)
        var free: UInt32 = 0x100
        for byte in UInt8.min...UInt8.max {
            let value: UInt32
            switch byte {
            case 0x21...0x7E, 0xA1...0xAC, 0xAE...0xFF: value = UInt32(byte)
            default:
                value = free
                free += 1
            }
            scalars.append(Unicode.Scalar(value)!)
            bytes[Int(value)] = byte
        }
        self.scalars = scalars
        self.bytes = bytes
    }

    /// The character that stands for `byte`.
    func scalar(of byte: UInt8) -> Unicode.Scalar { scalars[Int(byte)] }

    /// The bytes that `text`, in UTF-8, is written for; nil where a character is not of the alphabet.
    func decode(_ text: some Sequence<UInt8>) -> [UInt8]? {
        var decoded: [UInt8] = []
        // All of the alphabet is one or two bytes in UTF-8.
        var lead: UInt8?
        for byte in text {
            let value: Int
            if let first = lead {
                value = Int(first & 0x1F) << 6 | Int(byte & 0x3F)
                lead = nil
            } else if byte < 0x80 {
                value = Int(byte)
            } else if byte & 0xE0 == 0xC0 {
                lead = byte
                continue
            } else {
                return nil
            }
            guard value < bytes.count, let original = bytes[value] else { return nil }
            decoded.append(original)
        }
        return lead == nil ? decoded : nil
    }
}
