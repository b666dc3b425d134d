/// Unpacks DEFLATE data (RFC 1951).
enum Inflate {
    /// The lengths of copies that symbols 257 to 285 begin at, and how many bits follow (section 3.2.5).
    private static let lengths: [(base: Int, bits: Int)] = [
        (3, 0), (4, 0), (5, 0), (6, 0), (7, 0), (8, 0), (9, 0), (10, 0), (11, 1), (13, 1), (15, 1), (17, 1), (19, 2),
        (23, 2), (27, 2), (31, 2), (35, 3), (43, 3), (51, 3), (59, 3), (67, 4), (83, 4), (99, 4), (115, 4), (131, 5),
        (163, 5), (195, 5), (227, 5), (258, 0),
    ]
    /// The same for distances.
    private static let distances: [(base: Int, bits: Int)] = [
        (1, 0), (2, 0), (3, 0), (4, 0), (5, 1), (7, 1), (9, 2), (13, 2), (17, 3), (25, 3), (33, 4), (49, 4), (65, 5),
        (97, 5), (129, 6), (193, 6), (257, 7), (385, 7), (513, 8), (769, 8), (1025, 9), (1537, 9), (2049, 10),
        (3073, 10), (4097, 11), (6145, 11), (8193, 12), (12289, 12), (16385, 13), (24577, 13),
    ]
    /// The order in which the lengths of the codes for code lengths stand (section 3.2.7).
    private static let lengthOrder = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15]
    private static let endOfBlock = 256

    /// Unpacks one stream behind what `output` holds, which its copies do not reach into.
    static func decompress(
        _ input: inout BitReader, into output: inout [UInt8], limit: Int
    ) throws(InflateProblem) {
        let start = output.count
        var isLast = false
        while !isLast {
            isLast = try input.bits(1) == 1
            switch try input.bits(2) {
            case 0: try copyStored(&input, into: &output, limit: limit)
            case 1: try unpack(&input, try fixedCodes(), from: start, into: &output, limit: limit)
            case 2: try unpack(&input, try readCodes(&input), from: start, into: &output, limit: limit)
            default: throw .malformed("a block has a type that is not known")
            }
        }
    }

    private static func copyStored(
        _ input: inout BitReader, into output: inout [UInt8], limit: Int
    ) throws(InflateProblem) {
        input.alignToByte()
        let (count, check) = (try input.bits(16), try input.bits(16))
        guard count == check ^ 0xFFFF else { throw .malformed("a stored block's length contradicts itself") }
        guard count <= limit - output.count else { throw .tooLarge }
        for _ in 0..<count { output.append(try input.byte()) }
    }

    private typealias Codes = (literals: HuffmanCode, distances: HuffmanCode)

    private static func fixedCodes() throws(InflateProblem) -> Codes {
        let literals = (0..<288).map { UInt8($0 < 144 ? 8 : $0 < 256 ? 9 : $0 < 280 ? 7 : 8) }
        return (try HuffmanCode(lengths: literals), try HuffmanCode(lengths: [UInt8](repeating: 5, count: 32)))
    }

    /// The codes of a block that brings its own.
    private static func readCodes(_ input: inout BitReader) throws(InflateProblem) -> Codes {
        let literalCount = try input.bits(5) + 257
        let distanceCount = try input.bits(5) + 1
        let lengthCount = try input.bits(4) + 4
        guard literalCount <= 286, distanceCount <= 30 else { throw .malformed("a block has too many codes") }
        var lengthLengths = [UInt8](repeating: 0, count: 19)
        for index in 0..<lengthCount { lengthLengths[lengthOrder[index]] = UInt8(try input.bits(3)) }
        let lengthCode = try HuffmanCode(lengths: lengthLengths)
        var lengths: [UInt8] = []
        while lengths.count < literalCount + distanceCount {
            let symbol = try lengthCode.symbol(&input)
            switch symbol {
            case 0..<16: lengths.append(UInt8(symbol))
            case 16:
                guard let last = lengths.last else { throw .malformed("a block repeats a code's length before any") }
                lengths += repeatElement(last, count: try input.bits(2) + 3)
            case 17: lengths += repeatElement(0, count: try input.bits(3) + 3)
            default: lengths += repeatElement(0, count: try input.bits(7) + 11)
            }
        }
        guard lengths.count == literalCount + distanceCount, lengths[endOfBlock] > 0 else {
            throw .malformed("a block's codes are not whole")
        }
        return (
            try HuffmanCode(lengths: Array(lengths[..<literalCount])),
            try HuffmanCode(lengths: Array(lengths[literalCount...]))
        )
    }

    private static func unpack(
        _ input: inout BitReader, _ codes: Codes, from start: Int, into output: inout [UInt8], limit: Int
    ) throws(InflateProblem) {
        while true {
            let symbol = try codes.literals.symbol(&input)
            if symbol < endOfBlock {
                guard output.count < limit else { throw .tooLarge }
                output.append(UInt8(symbol))
                continue
            }
            if symbol == endOfBlock { return }
            guard symbol - 257 < lengths.count else { throw .malformed("a length is not known") }
            let length = lengths[symbol - 257].base + (try input.bits(lengths[symbol - 257].bits))
            let far = try codes.distances.symbol(&input)
            guard far < distances.count else { throw .malformed("a distance is not known") }
            let distance = distances[far].base + (try input.bits(distances[far].bits))
            guard distance <= output.count - start else { throw .malformed("a copy reaches before the beginning") }
            guard length <= limit - output.count else { throw .tooLarge }
            // A copy may reach into what it makes itself.
            for _ in 0..<length { output.append(output[output.count - distance]) }
        }
    }
}

/// A canonical Huffman code over symbols from 0 on.
private struct HuffmanCode {
    private static let longest = 15
    /// Bits that are looked up at once.
    private static let tableBits = 10

    /// For each value of the next bits the symbol and the length of its code; 0 where that is longer.
    private var table = [UInt16](repeating: 0, count: 1 << tableBits)
    /// Codes of each length.
    private var counts = [Int](repeating: 0, count: longest + 1)
    /// The symbols by length, then by number.
    private var symbols: [UInt16] = []

    /// Throws for lengths that leave a code ambiguous, or unused ones but for a single code of one bit.
    init(lengths: [UInt8]) throws(InflateProblem) {
        for length in lengths where length > 0 { counts[Int(length)] += 1 }
        var free = 1
        for length in 1...Self.longest {
            free = free << 1 - counts[length]
            guard free >= 0 else { throw .malformed("a block has too many codes of one length") }
        }
        let used = counts.reduce(0, +)
        guard free == 0 || used <= 1 else { throw .malformed("a block has codes that stand for nothing") }
        var code = 0
        for length in 1...Self.longest {
            for (symbol, _) in lengths.enumerated().filter({ $0.element == length }) {
                symbols.append(UInt16(symbol))
                if length <= Self.tableBits { enter(symbol, code: code, length: length) }
                code += 1
            }
            code <<= 1
        }
    }

    /// Codes stand with their highest bit first, and bits are read lowest first.
    private mutating func enter(_ symbol: Int, code: Int, length: Int) {
        let reversed = (0..<length).reduce(0) { $0 << 1 | code >> $1 & 1 }
        for index in stride(from: reversed, to: table.count, by: 1 << length) {
            table[index] = UInt16(symbol << 4 | length)
        }
    }

    func symbol(_ input: inout BitReader) throws(InflateProblem) -> Int {
        let entry = Int(table[input.peek(Self.tableBits)])
        if entry != 0 {
            try input.skip(entry & 15)
            return entry >> 4
        }
        var (code, first, index) = (0, 0, 0)
        for length in 1...Self.longest {
            code |= try input.bits(1)
            let count = counts[length]
            if code - first < count { return Int(symbols[index + code - first]) }
            index += count
            first = (first + count) << 1
            code <<= 1
        }
        throw .malformed("a code is not known")
    }
}
