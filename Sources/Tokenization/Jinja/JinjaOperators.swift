extension JinjaValue {
    /// Whether the value counts as true.
    var isTrue: Bool {
        switch self {
        case .undefined, .none: false
        case .bool(let value): value
        case .integer(let value): value != 0
        case .float(let value): value != 0
        case .text(let text): !text.isEmpty
        case .list(let list), .tuple(let list): !list.elements.isEmpty
        case .dictionary(let dictionary): dictionary.count > 0
        case .range(let range): range.count > 0
        case .view(let view): view.dictionary.count > 0
        default: true
        }
    }

    /// Whether two values are equal as Python has it; marks in texts do not count.
    func equals(_ other: JinjaValue) -> Bool {
        switch (self, other) {
        case (.undefined, .undefined), (.none, .none), (.template, .template): return true
        case (.text(let left), .text(let right)): return left.scalars == right.scalars
        case (.float(let left), .float(let right)): return left == right
        case (.float(let left), _):
            guard let right = other.asInteger else { return false }
            return Int(exactly: left) == right
        case (_, .float): return other.equals(self)
        case (.list(let left), .list(let right)), (.tuple(let left), .tuple(let right)):
            return left === right || Self.equal(left.elements, right.elements)
        case (.dictionary(let left), .dictionary(let right)): return Self.equal(left, right)
        case (.range(let left), .range(let right)):
            return left.count == right.count
                && (left.count == 0 || left.start == right.start && (left.count == 1 || left.step == right.step))
        case (.block(let left), .block(let right)): return left == right
        case (.view(let left), .view(let right)): return Self.equal(left, right)
        default:
            if let left = asInteger, let right = other.asInteger { return left == right }
            return isSame(as: other)
        }
    }

    private static func equal(_ left: [JinjaValue], _ right: [JinjaValue]) -> Bool {
        left.count == right.count && zip(left, right).allSatisfy { $0.equals($1) }
    }

    private static func equal(_ left: JinjaDictionary, _ right: JinjaDictionary) -> Bool {
        guard left.count == right.count else { return false }
        for member in left.members {
            guard let key = JinjaKey(member.key), let value = right[key], value.equals(member.value) else {
                return false
            }
        }
        return true
    }

    /// Keys are compared as sets, and so are items; values are not compared.
    private static func equal(_ left: JinjaView, _ right: JinjaView) -> Bool {
        switch (left.kind, right.kind) {
        case (.keys, .keys):
            left.dictionary.count == right.dictionary.count
                && left.dictionary.keys.allSatisfy { JinjaKey($0).flatMap { right.dictionary[$0] } != nil }
        case (.items, .items): equal(left.dictionary, right.dictionary)
        default: left === right
        }
    }

    /// Whether two values are one and the same.
    func isSame(as other: JinjaValue) -> Bool {
        switch (self, other) {
        case (.none, .none): true
        case (.bool(let left), .bool(let right)): left == right
        case (.integer(let left), .integer(let right)): left == right
        case (.text(let left), .text(let right)): left.scalars == right.scalars
        case (.list(let left), .list(let right)): left === right
        case (.tuple(let left), .tuple(let right)): left === right
        case (.dictionary(let left), .dictionary(let right)): left === right
        case (.iterator(let left), .iterator(let right)): left === right
        case (.namespace(let left), .namespace(let right)): left === right
        case (.macro(let left), .macro(let right)): left === right
        case (.loop(let left), .loop(let right)): left === right
        case (.cycler(let left), .cycler(let right)): left === right
        case (.joiner(let left), .joiner(let right)): left === right
        case (.function(let left), .function(let right)):
            left === right || left.receiver == nil && right.receiver == nil && left.name == right.name
        default: false
        }
    }

    /// Whether the value comes before another; nil where the two have no order. NaN comes before nothing.
    func isLess(than other: JinjaValue, orEqual: Bool = false) throws(JinjaError) -> Bool {
        switch (self, other) {
        case (.undefined(let problem), _), (_, .undefined(let problem)): throw .failed(problem)
        case (.text(let left), .text(let right)):
            return orEqual
                ? !right.scalars.lexicographicallyPrecedes(left.scalars)
                : left.scalars.lexicographicallyPrecedes(right.scalars)
        case (.list(let left), .list(let right)), (.tuple(let left), .tuple(let right)):
            for (left, right) in zip(left.elements, right.elements) where !left.equals(right) {
                return try left.isLess(than: right, orEqual: orEqual)
            }
            return orEqual
                ? left.elements.count <= right.elements.count : left.elements.count < right.elements.count
        default:
            if let left = asInteger, let right = other.asInteger { return orEqual ? left <= right : left < right }
            guard let left = asNumber, let right = other.asNumber else {
                throw .failed("\(kind) and \(other.kind) are compared, which have no order")
            }
            return orEqual ? left <= right : left < right
        }
    }

    /// The number, where this is one.
    var asNumber: Double? { if case .float(let value) = self { value } else { asInteger.map(Double.init) } }
}

extension JinjaRun {
    /// `left operation right`
    func combine(
        _ operation: JinjaOperator, _ left: JinjaValue, _ right: JinjaValue
    ) throws(JinjaError) -> JinjaValue {
        switch (left, right) {
        // A format may not use what it is given.
        case (.text(let format), _) where operation == .remainder:
            return .text(try formatted(format, with: right))
        case (.undefined(let problem), _), (_, .undefined(let problem)): throw .failed(problem)
        case (.text(let left), .text(let right)) where operation == .add:
            return .text(try joined(left, right))
        case (.list(let left), .list(let right)) where operation == .add:
            return .list(try makeList(left.elements + right.elements))
        case (.tuple(let left), .tuple(let right)) where operation == .add:
            return .tuple(try makeList(left.elements + right.elements))
        default: break
        }
        if operation == .multiply {
            if let count = right.asInteger, let value = try repeated(left, count: count) { return value }
            if let count = left.asInteger, let value = try repeated(right, count: count) { return value }
        }
        if let left = left.asInteger, let right = right.asInteger {
            return try JinjaArithmetic.integers(operation, left, right)
        }
        if let left = left.asNumber, let right = right.asNumber {
            return .float(try JinjaArithmetic.floats(operation, left, right))
        }
        throw .failed("'\(operation.rawValue)' of \(left.kind) and \(right.kind)")
    }

    /// A text or a list several times; nil for other values.
    private func repeated(_ value: JinjaValue, count: Int) throws(JinjaError) -> JinjaValue? {
        let count = max(0, count)
        switch value {
        case .text(let text):
            let (length, overflow) = text.count.multipliedReportingOverflow(by: count)
            try spendText(overflow ? .max : length)
            var result = JinjaText()
            result.isMarkup = text.isMarkup
            if !text.isEmpty { for _ in 0..<count { result.append(text) } }
            return .text(result)
        case .list(let list), .tuple(let list):
            let (length, overflow) = list.elements.count.multipliedReportingOverflow(by: count)
            try spend(overflow ? .max : length)
            var elements: [JinjaValue] = []
            if !list.elements.isEmpty { for _ in 0..<count { elements += list.elements } }
            if case .list = value { return .list(try makeList(elements)) }
            return .tuple(try makeList(elements))
        default: return nil
        }
    }

    /// Two texts as one. Where one is markup, the other is escaped.
    func joined(_ left: JinjaText, _ right: JinjaText) throws(JinjaError) -> JinjaText {
        let isMarkup = left.isMarkup || right.isMarkup
        let right = isMarkup ? try escaped(right) : right
        var text = isMarkup ? try escaped(left) : left
        try spendText(text.count + right.count)
        text.append(right)
        text.isMarkup = isMarkup
        return text
    }

    /// Whether a comparison holds.
    func compare(
        _ operation: JinjaComparison, _ left: JinjaValue, _ right: JinjaValue
    ) throws(JinjaError) -> Bool {
        switch operation {
        case .equal, .unequal:
            try spendComparing(left, right)
            return left.equals(right) == (operation == .equal)
        case .less, .lessOrEqual, .greater, .greaterOrEqual: break
        case .isIn: return try contains(right, left)
        case .isNotIn: return !(try contains(right, left))
        }
        try spendComparing(left, right)
        switch operation {
        case .less: return try left.isLess(than: right)
        case .lessOrEqual: return try left.isLess(than: right, orEqual: true)
        case .greater: return try right.isLess(than: left)
        default: return try right.isLess(than: left, orEqual: true)
        }
    }

    /// Whether `value in container`.
    func contains(_ container: JinjaValue, _ value: JinjaValue) throws(JinjaError) -> Bool {
        switch container {
        case .text(let text):
            guard case .text(let part) = value else { throw .failed("'in' of \(value.kind) and a text") }
            try spend(text.count / 64)
            return text.place(of: part.scalars) != nil
        case .dictionary(let dictionary):
            guard let key = try key(value) else { throw .failed("\(value.kind) is looked for among keys") }
            return dictionary[key] != nil
        case .undefined: return false
        default:
            let iterator = try iterate(container)
            while let element = try iterator.next() {
                try spendComparing(element, value)
                if element.equals(value) { return true }
            }
            return false
        }
    }

    /// Pays for comparing two values element by element.
    func spendComparing(_ left: JinjaValue, _ right: JinjaValue) throws(JinjaError) {
        try spend(1)
        switch (left, right) {
        case (.text(let left), .text(let right)): try spend(min(left.count, right.count) / 64)
        case (.list(let left), .list(let right)), (.tuple(let left), .tuple(let right)):
            guard left !== right, left.elements.count == right.elements.count else { return }
            for (left, right) in zip(left.elements, right.elements) {
                try spendComparing(left, right)
            }
        case (.dictionary(let left), .dictionary(let right)):
            guard left !== right, left.count == right.count else { return }
            for (left, right) in zip(left.values, right.values) {
                try spendComparing(left, right)
            }
        default: break
        }
    }
}

/// Python's arithmetic, in numbers of 64 bits.
enum JinjaArithmetic {
    static func integers(_ operation: JinjaOperator, _ left: Int, _ right: Int) throws(JinjaError) -> JinjaValue {
        let result: (partialValue: Int, overflow: Bool)
        switch operation {
        case .add: result = left.addingReportingOverflow(right)
        case .subtract: result = left.subtractingReportingOverflow(right)
        case .multiply: result = left.multipliedReportingOverflow(by: right)
        case .divide:
            if right == 0 { throw .failed("\(left) is divided by 0") }
            return .float(Double(left) / Double(right))
        case .floorDivide, .remainder:
            if right == 0 { throw .failed("\(left) is divided by 0") }
            if right == -1 {
                result = operation == .remainder ? (0, false) : (0).subtractingReportingOverflow(left)
                break
            }
            // Python rounds down.
            var (quotient, remainder) = left.quotientAndRemainder(dividingBy: right)
            if remainder != 0, (remainder < 0) != (right < 0) {
                (quotient, remainder) = (quotient - 1, remainder + right)
            }
            result = (operation == .remainder ? remainder : quotient, false)
        case .power:
            if right < 0 { return .float(try floats(.power, Double(left), Double(right))) }
            result = power(left, right)
        }
        if result.overflow { throw .failed("'\(operation.rawValue)' of \(left) and \(right) has more than 64 bits") }
        return .integer(result.partialValue)
    }

    private static func power(_ base: Int, _ exponent: Int) -> (partialValue: Int, overflow: Bool) {
        if base == 0 || base == 1 { return (exponent == 0 ? 1 : base, false) }
        if base == -1 { return (exponent % 2 == 0 ? 1 : -1, false) }
        var value = 1
        for _ in 0..<min(exponent, 64) {
            let (product, overflow) = value.multipliedReportingOverflow(by: base)
            if overflow { return (0, true) }
            value = product
        }
        return (value, exponent > 64)
    }

    static func floats(_ operation: JinjaOperator, _ left: Double, _ right: Double) throws(JinjaError) -> Double {
        switch operation {
        case .add: return left + right
        case .subtract: return left - right
        case .multiply: return left * right
        case .divide:
            if right == 0 { throw .failed("a number is divided by 0") }
            return left / right
        case .floorDivide: return try divided(left, right).quotient
        case .remainder: return try divided(left, right).remainder
        case .power:
            if left == 0, right < 0 { throw .failed("0 is raised to a negative power") }
            if left < 0, left.isFinite, right.isFinite, right != right.rounded() {
                throw .failed("a power in it is no real number")
            }
            let value = jinjaPower(left, right)
            if value.isInfinite, left.isFinite, right.isFinite { throw .failed("a power in it is too large") }
            return value
        }
    }

    /// Quotient, rounded down, and remainder, with the divisor's sign.
    private static func divided(_ left: Double, _ right: Double) throws(JinjaError) -> (
        quotient: Double, remainder: Double
    ) {
        if right == 0 { throw .failed("a number is divided by 0") }
        var remainder = left.truncatingRemainder(dividingBy: right)
        var quotient = (left - remainder) / right
        if remainder != 0 {
            if (right < 0) != (remainder < 0) {
                remainder += right
                quotient -= 1
            }
        } else {
            remainder = Double(signOf: right, magnitudeOf: 0)
        }
        if quotient != 0 {
            let floor = quotient.rounded(.down)
            quotient = quotient - floor > 0.5 ? floor + 1 : floor
        } else {
            quotient = Double(signOf: left / right, magnitudeOf: 0)
        }
        return (quotient, remainder)
    }
}
