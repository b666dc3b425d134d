/// The filters, tests, methods and operators of Jinja and of Python's values that chat templates use.
enum JinjaLibrary {
    /// Elements that `range` may have.
    private static let rangeLimit = 100_000

    private static func failure(_ problem: String) -> TokenizationError { .unsupportedTemplate(problem: problem) }

    /// What a value is, for an error message.
    static func kind(_ value: JinjaValue) -> String {
        switch value {
        case .undefined(let name): "the undefined '\(name)'"
        case .none: "none"
        case .bool: "a truth value"
        case .integer: "a number"
        case .text: "a text"
        case .list: "a list"
        case .dictionary: "a dictionary"
        case .namespace: "a namespace"
        case .macro, .function: "a function"
        }
    }

    /// The mark of a text whose stretches all have the same: what changes letters inside keeps no other.
    static func singleMark(_ text: JinjaText) throws(TokenizationError) -> Int? {
        guard text.hasOneMark else { throw failure("it takes apart a text that it has put together") }
        return text.pieces.first?.mark
    }

    // MARK: Operators

    /// The whole result of an operation on numbers; nil where there is none.
    static func arithmetic(_ operation: String, _ left: Int, _ right: Int) -> Int? {
        let result: (partialValue: Int, overflow: Bool)
        switch operation {
        case "+": result = left.addingReportingOverflow(right)
        case "-": result = left.subtractingReportingOverflow(right)
        case "*": result = left.multipliedReportingOverflow(by: right)
        case "//", "%":
            guard right != 0, !(left == .min && right == -1) else { return nil }
            // Python rounds down.
            let remainder = (left % right + right) % right
            return operation == "%" ? remainder : (left - remainder) / right
        default: return nil
        }
        return result.overflow ? nil : result.partialValue
    }

    /// Whether a comparison holds.
    static func compare(
        _ operation: String, _ left: JinjaValue, _ right: JinjaValue
    ) throws(TokenizationError) -> Bool {
        switch (operation, left, right) {
        case ("==", _, _): return left.equals(right)
        case ("!=", _, _): return !left.equals(right)
        case ("in", _, _): return try contains(right, left)
        case ("not in", _, _): return !(try contains(right, left))
        case ("<", .integer(let left), .integer(let right)): return left < right
        case ("<=", .integer(let left), .integer(let right)): return left <= right
        case (">", .integer(let left), .integer(let right)): return left > right
        case (">=", .integer(let left), .integer(let right)): return left >= right
        default: throw failure("'\(operation)' of \(kind(left)) and \(kind(right))")
        }
    }

    private static func contains(_ container: JinjaValue, _ value: JinjaValue) throws(TokenizationError) -> Bool {
        switch (container, value) {
        case (.list(let values), _): return values.contains { $0.equals(value) }
        case (.dictionary(let members), .text(let key)): return members.contains { $0.key == key.string }
        case (.text(let text), .text(let part)): return find(part.string, in: text.string) != nil
        case (.undefined, _): return false
        default: throw failure("'in' of \(kind(value)) and \(kind(container))")
        }
    }

    /// The place of a text in another, scalar by scalar.
    private static func find(_ part: String, in text: String) -> Range<Int>? {
        if part.isEmpty { return 0..<0 }
        let bytes = Array(text.utf8)
        return bytes.firstOccurrence(of: Array(part.utf8), in: 0..<bytes.count)
    }

    /// Python's slice.
    static func slice<Element>(
        _ values: [Element], _ start: Int?, _ stop: Int?, step: Int
    ) throws(TokenizationError) -> [Element] {
        guard step == 1 || step == -1 else { throw failure("a slice has a step of \(step)") }
        func clamp(_ bound: Int?, _ standard: Int, _ range: ClosedRange<Int>) -> Int {
            guard let bound else { return standard }
            return min(max(bound < 0 ? bound + values.count : bound, range.lowerBound), range.upperBound)
        }
        if step == 1 {
            let first = clamp(start, 0, 0...values.count)
            return Array(values[first..<max(first, clamp(stop, values.count, 0...values.count))])
        }
        let first = clamp(start, values.count - 1, -1...values.count - 1)
        let last = clamp(stop, -1, -1...values.count - 1)
        return first > last ? Array(values[last + 1...first].reversed()) : []
    }

    /// The numbers that `range` gives.
    static func range(_ arguments: [JinjaValue]) throws(TokenizationError) -> [Int] {
        let numbers = arguments.compactMap { if case .integer(let number) = $0 { number } else { nil } }
        guard numbers.count == arguments.count, (1...3).contains(numbers.count) else {
            throw failure("'range' is called with other than one to three numbers")
        }
        let (start, end) = numbers.count == 1 ? (0, numbers[0]) : (numbers[0], numbers[1])
        let step = numbers.count == 3 ? numbers[2] : 1
        guard numbers.allSatisfy({ (-rangeLimit...rangeLimit).contains($0) }) else {
            throw failure("'range' is called with too large a number")
        }
        guard step != 0 else { throw failure("'range' is called with a step of 0") }
        return Array(stride(from: start, to: end, by: step))
    }

    // MARK: Tests

    /// Whether `value is name(arguments)`.
    static func test(
        _ value: JinjaValue, _ name: String, _ arguments: [JinjaValue]
    ) throws(TokenizationError) -> Bool {
        switch (name, value) {
        case ("undefined", .undefined): return true
        case ("undefined", _): return false
        case ("defined", .undefined): return false
        case ("defined", _): return true
        case ("none", .none): return true
        case ("none", _): return false
        case ("true", .bool(true)), ("false", .bool(false)): return true
        case ("boolean", .bool), ("string", .text), ("mapping", .dictionary), ("integer", .integer): return true
        case ("number", .integer), ("number", .bool), ("callable", .macro), ("callable", .function): return true
        case ("sequence", .list), ("sequence", .text), ("sequence", .dictionary): return true
        case ("iterable", .list), ("iterable", .text), ("iterable", .dictionary), ("iterable", .undefined): return true
        case ("true", _), ("false", _), ("boolean", _), ("string", _), ("mapping", _), ("integer", _), ("number", _),
            ("callable", _), ("sequence", _), ("iterable", _):
            return false
        case ("odd", .integer(let number)): return number % 2 != 0
        case ("even", .integer(let number)): return number % 2 == 0
        case ("eq", _), ("equalto", _), ("sameas", _), ("ne", _), ("in", _):
            guard let other = arguments.first else { throw failure("the test '\(name)' lacks an argument") }
            if name == "in" { return try contains(other, value) }
            return value.equals(other) == (name != "ne")
        case ("divisibleby", .integer(let number)):
            guard case .integer(let divisor) = arguments.first, divisor != 0, divisor != -1 else {
                throw failure("the test 'divisibleby' has no number to divide by")
            }
            return number % divisor == 0
        default: throw failure("it has the test '\(name)' of \(kind(value))")
        }
    }

    // MARK: Filters and methods

    /// `value | name(arguments)`, for the filters that need nothing of the interpreter.
    static func filter(
        _ value: JinjaValue, _ name: String, _ arguments: [JinjaValue]
    ) throws(TokenizationError) -> JinjaValue {
        switch (name, value) {
        case ("trim", .text), ("upper", .text), ("lower", .text), ("capitalize", .text), ("replace", .text):
            return try method(name == "trim" ? "strip" : name, of: value, arguments)
        case ("trim", .undefined): return .plain("")
        case ("safe", .text), ("list", .list): return value
        case ("list", .dictionary(let members)): return .list(members.map { .plain($0.key) })
        case ("length", .text(let text)), ("count", .text(let text)):
            return .integer(text.string.unicodeScalars.count)
        case ("length", .list(let values)), ("count", .list(let values)): return .integer(values.count)
        case ("length", .dictionary(let members)), ("count", .dictionary(let members)): return .integer(members.count)
        case ("length", .undefined), ("count", .undefined): return .integer(0)
        case ("first", .list(let values)): return values.first ?? .undefined("first")
        case ("last", .list(let values)): return values.last ?? .undefined("last")
        case ("reverse", .list(let values)): return .list(values.reversed())
        case ("int", .integer): return value
        case ("tojson", .text(let text)) where arguments.isEmpty:
            return .text(JinjaText(try JinjaJSON.text(of: value), mark: try singleMark(text)))
        case ("tojson", _) where arguments.isEmpty: return .plain(try JinjaJSON.text(of: value))
        case ("items", .dictionary): return try method("items", of: value, [])
        case ("selectattr", .list(let values)), ("rejectattr", .list(let values)):
            return .list(try select(values, arguments, keeps: name == "selectattr"))
        default: throw failure("it has the filter '\(name)' of \(kind(value))")
        }
    }

    private static func select(
        _ values: [JinjaValue], _ arguments: [JinjaValue], keeps: Bool
    ) throws(TokenizationError) -> [JinjaValue] {
        guard case .text(let key) = arguments.first else { throw failure("a selection names no attribute") }
        var selected: [JinjaValue] = []
        for value in values {
            guard case .dictionary(let members) = value else { throw failure("a selection is made of \(kind(value))") }
            let member = members.first { $0.key == key.string }?.value ?? .undefined(key.string)
            var holds = member.isTrue
            if arguments.count > 1 {
                guard case .text(let test) = arguments[1] else { throw failure("a selection names no test") }
                let name = test.string == "==" ? "eq" : test.string == "!=" ? "ne" : test.string
                holds = try Self.test(member, name, Array(arguments.dropFirst(2)))
            }
            if holds == keeps { selected.append(value) }
        }
        return selected
    }

    /// `value.name(arguments)`, as Python's types have it.
    static func method(
        _ name: String, of value: JinjaValue, _ arguments: [JinjaValue]
    ) throws(TokenizationError) -> JinjaValue {
        switch value {
        case .text(let text):
            var texts: [JinjaText] = []
            for argument in arguments {
                guard case .text(let text) = argument else {
                    throw failure("'\(name)' of a text gets \(kind(argument))")
                }
                texts.append(text)
            }
            return try textMethod(name, text, texts)
        case .dictionary(let members):
            switch (name, arguments.first) {
            case ("items", nil): return .list(members.map { .list([.plain($0.key), $0.value]) })
            case ("keys", nil): return .list(members.map { .plain($0.key) })
            case ("values", nil): return .list(members.map(\.value))
            case ("get", .text(let key)):
                return members.first { $0.key == key.string }?.value ?? arguments.dropFirst().first ?? .none
            default: break
            }
        default: break
        }
        throw failure("it has the method '\(name)' of \(kind(value))")
    }

    private static func textMethod(
        _ name: String, _ text: JinjaText, _ arguments: [JinjaText]
    ) throws(TokenizationError) -> JinjaValue {
        let first = arguments.first?.string
        switch (name, arguments.count) {
        case ("strip", 0...1), ("lstrip", 0...1), ("rstrip", 0...1):
            let dropped = first.map { Array($0.unicodeScalars) }
            let isDropped = { (scalar: Unicode.Scalar) in dropped?.contains(scalar) ?? JinjaText.isSpace(scalar) }
            return .text(text.trimmed(start: name != "rstrip", end: name != "lstrip", where: isDropped))
        case ("startswith", 1): return .bool(text.string.utf8.starts(with: first!.utf8))
        case ("endswith", 1): return .bool(text.string.utf8.reversed().starts(with: first!.utf8.reversed()))
        default: break
        }
        let mark = try singleMark(text)
        func marked(_ text: String) -> JinjaValue { .text(JinjaText(text, mark: mark)) }
        switch (name, arguments.count) {
        case ("upper", 0): return marked(text.string.uppercased())
        case ("lower", 0): return marked(text.string.lowercased())
        case ("capitalize", 0):
            return marked(text.string.prefix(1).uppercased() + text.string.dropFirst().lowercased())
        case ("split", 0):
            let words = text.string.unicodeScalars.split(whereSeparator: JinjaText.isSpace)
            return .list(words.map { marked(String($0)) })
        case ("split", 1) where !first!.isEmpty:
            return .list(pieces(of: text.string, at: first!).map(marked))
        case ("replace", 2) where !first!.isEmpty:
            return marked(pieces(of: text.string, at: first!).joined(separator: arguments[1].string))
        default: throw failure("it has the method '\(name)' of a text with \(arguments.count) arguments")
        }
    }

    private static func pieces(of text: String, at separator: String) -> [String] {
        let bytes = Array(text.utf8)
        let wanted = Array(separator.utf8)
        var pieces: [String] = []
        var start = 0
        while let match = bytes.firstOccurrence(of: wanted, in: start..<bytes.count) {
            pieces.append(String(decoding: bytes[start..<match.lowerBound], as: UTF8.self))
            start = match.upperBound
        }
        return pieces + [String(decoding: bytes[start...], as: UTF8.self)]
    }
}
