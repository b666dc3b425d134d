/// Why a text is not JSON, and where.
package struct JSONError: Error, Sendable, Equatable, CustomStringConvertible {
    /// What is wrong, as a phrase.
    package let problem: String
    /// Bytes before the place.
    package let offset: Int
    /// The line of the place, from 1.
    package let line: Int

    package var description: String { "not valid JSON at line \(line) (byte \(offset)): \(problem)" }
}

extension JSONValue {
    /// Levels of nesting allowed: far more than any checkpoint or record has, far fewer than the stack holds.
    package static let depthLimit = 128
    /// Values in one text allowed unless more are asked for: five times what the index of the largest models has, read
    /// in half a second and in 256 MB at most, however small the text for each is.
    package static let valueLimit = 1 << 19

    /// Reads one JSON value (RFC 8259) that fills `bytes`, white space around it aside.
    ///
    /// Stricter than common decoders: invalid UTF-8, a key twice in one object, lone surrogates, nesting deeper than
    /// `depthLimit` and more than `valueLimit` values are errors, and so are objects that count more than `memberLimit`,
    /// one for each member and three for each object: they take far more memory than the other values.
    package static func parse(
        _ bytes: some Sequence<UInt8>, valueLimit: Int = JSONValue.valueLimit, memberLimit: Int = .max
    ) throws(JSONError) -> JSONValue {
        try JSONParser.read(bytes, valueLimit: valueLimit) { (parser) throws(JSONError) in
            parser.memberLimit = memberLimit
            return try parser.parseValue(depth: 0)
        }
    }

    /// Reads one JSON value from text; see `parse(_:)` for bytes.
    package static func parse(_ text: String) throws(JSONError) -> JSONValue {
        try parse(text.utf8)
    }

    /// Reads a JSON array element by element with the line each starts at, for error messages about records. Each
    /// element may have `valueLimit` values.
    package static func parseArrayWithLines(
        _ bytes: some Sequence<UInt8>
    ) throws(JSONError) -> [(line: Int, value: JSONValue)] {
        try JSONParser.read(bytes, what: "array") { (parser) throws(JSONError) in
            var elements: [(line: Int, value: JSONValue)] = []
            var line = 1
            var counted = 0
            try parser.parseList(open: UInt8(ascii: "["), close: UInt8(ascii: "]")) { (parser) throws(JSONError) in
                while counted < parser.position {
                    if parser.bytes[counted] == UInt8(ascii: "\n") { line += 1 }
                    counted += 1
                }
                parser.valueCount = 0
                elements.append((line, try parser.parseValue(depth: 1)))
            }
            return elements
        }
    }
}

/// A recursive-descent reader over bytes.
struct JSONParser {
    let bytes: UnsafeBufferPointer<UInt8>
    var position = 0
    /// Values read so far, and how many there may be.
    var valueCount = 0
    var valueLimit: Int
    /// Members so far, and three for each object.
    var memberCount = 0
    var memberLimit = Int.max
    /// Bytes that a string may have as it is written.
    var stringLimit = Int.max

    /// Reads `bytes` with `body`, which must leave nothing but white space; `what` says what ends there.
    static func read<R>(
        _ bytes: some Sequence<UInt8>, valueLimit: Int = JSONValue.valueLimit, what: String = "value",
        _ body: (inout JSONParser) throws(JSONError) -> R
    ) throws(JSONError) -> R {
        func run(_ bytes: UnsafeBufferPointer<UInt8>) -> Result<R, JSONError> {
            Result { () throws(JSONError) in
                var parser = JSONParser(bytes: bytes, valueLimit: valueLimit)
                let value = try body(&parser)
                parser.skipSpace()
                if parser.position < bytes.count { throw parser.failure("text after the \(what)") }
                return value
            }
        }
        // Contiguous bytes, which may be many, are read where they are.
        let outcome = bytes.withContiguousStorageIfAvailable(run) ?? Array(bytes).withUnsafeBufferPointer(run)
        return try outcome.get()
    }

    func failure(_ problem: String) -> JSONError {
        let place = min(position, bytes.count)
        let line = bytes[..<place].reduce(into: 1) { count, byte in if byte == UInt8(ascii: "\n") { count += 1 } }
        return JSONError(problem: problem, offset: place, line: line)
    }

    var current: UInt8? { position < bytes.count ? bytes[position] : nil }

    mutating func skipSpace() {
        while position < bytes.count {
            switch bytes[position] {
            case 0x20, 0x09, 0x0A, 0x0D: position += 1
            default: return
            }
        }
    }

    mutating func parseValue(depth: Int) throws(JSONError) -> JSONValue {
        if depth > JSONValue.depthLimit { throw failure("nested deeper than \(JSONValue.depthLimit) levels") }
        valueCount += 1
        if valueCount > valueLimit { throw failure("more than \(valueLimit) values") }
        skipSpace()
        switch current {
        case UInt8(ascii: "{"): return .object(try parseObject(depth: depth))
        case UInt8(ascii: "["):
            var elements: [JSONValue] = []
            try parseList(open: UInt8(ascii: "["), close: UInt8(ascii: "]")) { (parser) throws(JSONError) in
                elements.append(try parser.parseValue(depth: depth + 1))
            }
            return .array(elements)
        case UInt8(ascii: "\""): return .string(try parseString())
        case UInt8(ascii: "t"): return try parseWord("true", .bool(true))
        case UInt8(ascii: "f"): return try parseWord("false", .bool(false))
        case UInt8(ascii: "n"): return try parseWord("null", .null)
        case .some(UInt8(ascii: "0")...UInt8(ascii: "9")), UInt8(ascii: "-"): return try parseNumber()
        case nil: throw failure("the text ends where a value should be")
        default: throw failure("a value cannot start here")
        }
    }

    mutating func parseObject(depth: Int) throws(JSONError) -> JSONObject {
        var object = JSONObject()
        try countMembers(3)
        try parseMembers { (key, start, parser) throws(JSONError) in
            try parser.countMembers(1)
            guard object[key] == nil else { throw parser.failure(duplicate: key, at: start) }
            object[key] = try parser.parseValue(depth: depth + 1)
        }
        return object
    }

    private mutating func countMembers(_ count: Int) throws(JSONError) {
        memberCount += count
        if memberCount > memberLimit { throw failure("objects and members of more than \(memberLimit) in all") }
    }

    /// Reads an object, whose members `parseMember` reads from their values on; it is told the key and its place.
    mutating func parseMembers(
        _ parseMember: (_ key: String, _ start: Int, inout JSONParser) throws(JSONError) -> Void
    ) throws(JSONError) {
        try parseList(open: UInt8(ascii: "{"), close: UInt8(ascii: "}")) { (parser) throws(JSONError) in
            parser.skipSpace()
            guard parser.current == UInt8(ascii: "\"") else { throw parser.failure("a key in quotes is missing") }
            let start = parser.position
            let key = try parser.parseString()
            parser.skipSpace()
            guard parser.current == UInt8(ascii: ":") else { throw parser.failure("':' is missing after a key") }
            parser.position += 1
            try parseMember(key, start, &parser)
        }
    }

    /// The error of a key that stands twice, the second time at `start`.
    func failure(duplicate key: String, at start: Int) -> JSONError {
        var place = self
        place.position = start
        return place.failure("the key '\(key)' stands twice in one object")
    }

    mutating func parseList(
        open: UInt8, close: UInt8, _ parseElement: (inout JSONParser) throws(JSONError) -> Void
    ) throws(JSONError) {
        skipSpace()
        guard current == open else { throw failure("'\(Character(Unicode.Scalar(open)))' is missing") }
        position += 1
        skipSpace()
        if current == close {
            position += 1
            return
        }
        while true {
            skipSpace()
            try parseElement(&self)
            skipSpace()
            if current == close {
                position += 1
                return
            }
            guard current == UInt8(ascii: ",") else {
                throw failure(current == nil ? "the text ends inside a list" : "',' is missing")
            }
            position += 1
        }
    }

    mutating func parseWord(_ word: StaticString, _ value: JSONValue) throws(JSONError) -> JSONValue {
        let length = word.utf8CodeUnitCount
        guard position + length <= bytes.count,
            word.withUTF8Buffer({ $0.elementsEqual(bytes[position..<position + length]) })
        else { throw failure("an unknown word") }
        position += length
        return value
    }

    mutating func parseNumber() throws(JSONError) -> JSONValue {
        let start = position
        if current == UInt8(ascii: "-") { position += 1 }
        if current == UInt8(ascii: "0") {
            position += 1
        } else {
            try parseDigits()
        }
        if current == UInt8(ascii: ".") {
            position += 1
            try parseDigits()
        }
        if current == UInt8(ascii: "e") || current == UInt8(ascii: "E") {
            position += 1
            if current == UInt8(ascii: "+") || current == UInt8(ascii: "-") { position += 1 }
            try parseDigits()
        }
        return .number(String(decoding: bytes[start..<position], as: UTF8.self))
    }

    mutating func parseDigits() throws(JSONError) {
        let start = position
        while let byte = current, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) { position += 1 }
        if position == start { throw failure("a digit is missing in a number") }
    }

    mutating func parseString() throws(JSONError) -> String {
        position += 1
        var start = position
        let end = stringLimit < Int.max - position ? position + stringLimit : Int.max
        var decoded: [UInt8] = []
        while true {
            guard let byte = current else { throw failure("the text ends inside a string") }
            if position > end { throw failure("a string of more than \(stringLimit) bytes") }
            if byte == UInt8(ascii: "\"") {
                let last = UnsafeBufferPointer(rebasing: bytes[start..<position])
                // Without escapes the text needs no second copy.
                if !decoded.isEmpty { decoded.append(contentsOf: last) }
                let text =
                    decoded.isEmpty
                    ? String(validating: last, as: UTF8.self) : String(validating: decoded, as: UTF8.self)
                guard let text else { throw failure("invalid UTF-8") }
                position += 1
                return text
            }
            if byte < 0x20 { throw failure("a raw control character in a string") }
            if byte == UInt8(ascii: "\\") {
                if start < position { decoded.append(contentsOf: bytes[start..<position]) }
                position += 1
                try parseEscape(into: &decoded)
                start = position
            } else {
                position += 1
            }
        }
    }

    mutating func parseEscape(into decoded: inout [UInt8]) throws(JSONError) {
        guard let byte = current else { throw failure("the text ends inside a string") }
        position += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): decoded.append(byte)
        case UInt8(ascii: "b"): decoded.append(0x08)
        case UInt8(ascii: "f"): decoded.append(0x0C)
        case UInt8(ascii: "n"): decoded.append(0x0A)
        case UInt8(ascii: "r"): decoded.append(0x0D)
        case UInt8(ascii: "t"): decoded.append(0x09)
        case UInt8(ascii: "u"):
            var unit = UInt32(try parseHex())
            if (0xD800...0xDBFF).contains(unit) {
                guard current == UInt8(ascii: "\\"), position + 1 < bytes.count,
                    bytes[position + 1] == UInt8(ascii: "u")
                else { throw failure("half of a surrogate pair") }
                position += 2
                let low = UInt32(try parseHex())
                guard (0xDC00...0xDFFF).contains(low) else { throw failure("half of a surrogate pair") }
                unit = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00)
            }
            guard let scalar = Unicode.Scalar(unit) else { throw failure("half of a surrogate pair") }
            if scalar.isASCII { return decoded.append(UInt8(unit)) }
            decoded.append(contentsOf: UTF8.encode(scalar)!)
        default: throw failure("an unknown escape in a string")
        }
    }

    mutating func parseHex() throws(JSONError) -> UInt16 {
        guard position + 4 <= bytes.count else { throw failure("the text ends inside an escape") }
        var value: UInt16 = 0
        for byte in bytes[position..<position + 4] {
            let digit: UInt8
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): digit = byte - UInt8(ascii: "0")
            case UInt8(ascii: "a")...UInt8(ascii: "f"): digit = byte - UInt8(ascii: "a") + 10
            case UInt8(ascii: "A")...UInt8(ascii: "F"): digit = byte - UInt8(ascii: "A") + 10
            default: throw failure("an escape needs four hexadecimal digits")
            }
            value = value << 4 | UInt16(digit)
        }
        position += 4
        return value
    }
}
