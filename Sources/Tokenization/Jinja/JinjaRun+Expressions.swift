/// What is handed to a function, a filter or a test.
struct JinjaCall {
    var positional: [JinjaValue] = []
    var named: [(name: String, value: JinjaValue)] = []
}

extension JinjaRun {
    /// What a name stands for.
    func lookUp(_ name: String, _ scope: JinjaScope) -> JinjaValue {
        scope[name] ?? .undefined("'\(name)' is undefined")
    }

    /// The value of an expression; `caught` is the text of the block that a filter stands at.
    func evaluate(
        _ expression: JinjaExpression, _ scope: JinjaScope, caught: JinjaText? = nil
    ) throws(JinjaError) -> JinjaValue {
        try spend(1)
        try enter()
        defer { leave() }
        switch expression {
        case .literal(let literal): return Self.value(of: literal)
        case .name(let name): return lookUp(name, scope)
        case .caught: return caught.map { .text($0) } ?? .none
        case .list(let elements): return try list(evaluate(elements, scope))
        case .tuple(let elements): return try tuple(evaluate(elements, scope))
        case .dictionary(let members): return try evaluateDictionary(members, scope)
        case .attribute(let value, let name): return try attribute(name, of: evaluate(value, scope))
        case .element(let value, let index):
            let value = try evaluate(value, scope)
            return try element(evaluate(index, scope), of: value)
        case .slice(let value, let slice): return try evaluateSlice(of: value, slice, scope)
        case .call(let function, let arguments):
            let function = try evaluate(function, scope)
            return try call(function, evaluate(arguments, scope))
        case .filter(let value, let name, let arguments):
            let value = try evaluate(value, scope, caught: caught)
            return try filter(name, value, evaluate(arguments, scope))
        case .test(let value, let name, let arguments):
            let value = try evaluate(value, scope)
            return try test(name, value, evaluate(arguments, scope))
        case .not(let value): return .bool(!(try evaluate(value, scope).isTrue))
        case .negative(let value): return try negated(evaluate(value, scope))
        case .positive(let value): return try positive(evaluate(value, scope))
        case .and, .or, .binary: return try evaluateChain(expression, scope)
        case .concatenation(let parts): return try concatenated(evaluate(parts, scope))
        case .comparison(let first, let chain): return try evaluateComparison(first, chain, scope)
        case .conditional(let value, let condition, let otherwise):
            if try evaluate(condition, scope).isTrue { return try evaluate(value, scope) }
            guard let otherwise else { return .undefined("a condition without 'else' does not hold") }
            return try evaluate(otherwise, scope)
        }
    }

    private static func value(of literal: JinjaLiteral) -> JinjaValue {
        switch literal {
        case .none: .none
        case .bool(let value): .bool(value)
        case .integer(let value): .integer(value)
        case .float(let value): .float(value)
        case .text(let text): .plain(text)
        }
    }

    private func evaluate(_ expressions: [JinjaExpression], _ scope: JinjaScope) throws(JinjaError) -> [JinjaValue] {
        var values: [JinjaValue] = []
        values.reserveCapacity(expressions.count)
        for expression in expressions { values.append(try evaluate(expression, scope)) }
        return values
    }

    private func evaluateDictionary(
        _ members: [(key: JinjaExpression, value: JinjaExpression)], _ scope: JinjaScope
    ) throws(JinjaError) -> JinjaValue {
        var values: [(key: JinjaValue, value: JinjaValue)] = []
        for member in members {
            let key = try evaluate(member.key, scope)
            values.append((key, try evaluate(member.value, scope)))
        }
        return try dictionary(values)
    }

    private func evaluateSlice(
        of value: JinjaExpression, _ slice: JinjaSlice, _ scope: JinjaScope
    ) throws(JinjaError) -> JinjaValue {
        let value = try evaluate(value, scope)
        let start = try bound(slice.start, scope)
        let stop = try bound(slice.stop, scope)
        return try self.slice(value, start, stop, step: bound(slice.step, scope))
    }

    private func bound(_ expression: JinjaExpression?, _ scope: JinjaScope) throws(JinjaError) -> Int? {
        guard let expression else { return nil }
        let value = try evaluate(expression, scope)
        if value.isNone { return nil }
        guard let bound = value.asInteger else { throw .failed("a bound of a slice is \(value.kind)") }
        return bound
    }

    /// Operators that bind to the left, one after the other, so that a long chain needs no deep stack.
    private func evaluateChain(_ expression: JinjaExpression, _ scope: JinjaScope) throws(JinjaError) -> JinjaValue {
        var links: [JinjaExpression] = []
        var first = expression
        while true {
            switch first {
            case .and(let left, _), .or(let left, _), .binary(_, let left, _):
                links.append(first)
                first = left
                continue
            default: break
            }
            break
        }
        var value = try evaluate(first, scope)
        for link in links.reversed() {
            try spend(1)
            switch link {
            case .and(_, let right): if value.isTrue { value = try evaluate(right, scope) }
            case .or(_, let right): if !value.isTrue { value = try evaluate(right, scope) }
            case .binary(let operation, _, let right):
                value = try combine(operation, value, evaluate(right, scope))
            default: break
            }
        }
        return value
    }

    private func evaluateComparison(
        _ first: JinjaExpression, _ chain: [(operation: JinjaComparison, right: JinjaExpression)], _ scope: JinjaScope
    ) throws(JinjaError) -> JinjaValue {
        var left = try evaluate(first, scope)
        for link in chain {
            let right = try evaluate(link.right, scope)
            guard try compare(link.operation, left, right) else { return .bool(false) }
            left = right
        }
        return .bool(true)
    }

    private func negated(_ value: JinjaValue) throws(JinjaError) -> JinjaValue {
        if case .float(let number) = value { return .float(-number) }
        if case .undefined(let problem) = value { throw .failed(problem) }
        guard let number = value.asInteger else { throw .failed("a minus stands before \(value.kind)") }
        return try JinjaArithmetic.integers(.subtract, 0, number)
    }

    private func positive(_ value: JinjaValue) throws(JinjaError) -> JinjaValue {
        if case .float = value { return value }
        if case .undefined(let problem) = value { throw .failed(problem) }
        guard let number = value.asInteger else { throw .failed("a plus stands before \(value.kind)") }
        return .integer(number)
    }

    /// `a ~ b ~ c`
    private func concatenated(_ values: [JinjaValue]) throws(JinjaError) -> JinjaValue {
        var texts: [JinjaText] = []
        for value in values { texts.append(try string(of: value)) }
        let isMarkup = escapes && texts.contains(where: \.isMarkup)
        var result = JinjaText()
        for text in texts {
            let part = isMarkup ? try escaped(text) : text
            try spendText(part.count)
            try checkText(result.count + part.count)
            result.append(part)
        }
        result.isMarkup = isMarkup
        return .text(result)
    }

    /// The arguments' values; those of `*values` and `**values` too.
    func evaluate(_ arguments: JinjaArguments, _ scope: JinjaScope) throws(JinjaError) -> JinjaCall {
        var call = JinjaCall(positional: try evaluate(arguments.positional, scope))
        for (name, value) in arguments.named { call.named.append((name, try evaluate(value, scope))) }
        if let more = arguments.morePositional { call.positional += try elements(of: evaluate(more, scope)) }
        if let more = arguments.moreNamed {
            guard case .dictionary(let dictionary) = try evaluate(more, scope) else {
                throw .failed("'**' stands before what is no dictionary")
            }
            for member in dictionary.members {
                guard let name = member.key.asText else {
                    throw .failed("the name of an argument is \(member.key.kind)")
                }
                call.named.append((name.string, member.value))
            }
        }
        for (index, argument) in call.named.enumerated() {
            if call.named[..<index].contains(where: { $0.name == argument.name }) {
                throw .failed("the argument '\(argument.name)' is given twice")
            }
        }
        return call
    }
}
