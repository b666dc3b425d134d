/// Expressions, from the loosest binding to the tightest.
extension JinjaParser {
    /// An expression, or several with commas as a tuple. In brackets, nothing at all is one too.
    mutating func parseTuple(
        allowsCondition: Bool = true, endingWith ends: Set<String> = [], inBrackets: Bool = false
    ) throws(JinjaError) -> JinjaExpression {
        var elements: [JinjaExpression] = []
        var isTuple = false
        while true {
            if !elements.isEmpty {
                guard take(",") else { break }
                isTuple = true
            }
            if isTupleEnd(ends) { break }
            elements.append(try parseExpression(allowsCondition: allowsCondition))
        }
        if isTuple { return .tuple(elements) }
        if let element = elements.first { return element }
        guard inBrackets else { throw .failed("an expression is missing in a tag") }
        return .tuple([])
    }

    private func isTupleEnd(_ ends: Set<String>) -> Bool {
        switch current {
        case nil, .symbol(")"): true
        case .name(let name): ends.contains(name)
        default: false
        }
    }

    mutating func parseExpression(allowsCondition: Bool = true) throws(JinjaError) -> JinjaExpression {
        depth += 1
        defer { depth -= 1 }
        if depth > Self.depthLimit { throw .failed("it is nested too deeply") }
        let outer = isConditional
        let unknownBefore = unknown.count
        defer { isConditional = outer }
        var value = try parseOr()
        guard allowsCondition else { return value }
        while takeName("if") {
            isConditional = true
            unknown.removeLast(unknown.count - unknownBefore)
            let condition = try parseOr()
            let otherwise = takeName("else") ? try parseExpression() : nil
            value = .conditional(value, condition: condition, otherwise: otherwise)
        }
        return value
    }

    private mutating func parseOr() throws(JinjaError) -> JinjaExpression {
        var left = try parseAnd()
        while takeName("or") { left = .or(left, try parseAnd()) }
        return left
    }

    private mutating func parseAnd() throws(JinjaError) -> JinjaExpression {
        var left = try parseNot()
        while takeName("and") { left = .and(left, try parseNot()) }
        return left
    }

    private mutating func parseNot() throws(JinjaError) -> JinjaExpression {
        var negations = 0
        while takeName("not") { negations += 1 }
        let value = try parseComparison()
        // Two negations still make a truth value of it.
        return negations == 0 ? value : negations % 2 == 1 ? .not(value) : .not(.not(value))
    }

    private mutating func parseComparison() throws(JinjaError) -> JinjaExpression {
        let left = try parseSum()
        var chain: [(operation: JinjaComparison, right: JinjaExpression)] = []
        while true {
            if case .symbol(let symbol) = current, let comparison = JinjaComparison(rawValue: symbol) {
                position += 1
                chain.append((comparison, try parseSum()))
            } else if takeName("in") {
                chain.append((.isIn, try parseSum()))
            } else if current == .name("not"), next == .name("in") {
                position += 2
                chain.append((.isNotIn, try parseSum()))
            } else {
                return chain.isEmpty ? left : .comparison(left, chain)
            }
        }
    }

    private mutating func parseSum() throws(JinjaError) -> JinjaExpression {
        var left = try parseConcatenation()
        while case .symbol(let symbol) = current, symbol == "+" || symbol == "-" {
            position += 1
            left = .binary(symbol == "+" ? .add : .subtract, left, try parseConcatenation())
        }
        return left
    }

    private mutating func parseConcatenation() throws(JinjaError) -> JinjaExpression {
        var parts = [try parseProduct()]
        while take("~") { parts.append(try parseProduct()) }
        return parts.count == 1 ? parts[0] : .concatenation(parts)
    }

    private mutating func parseProduct() throws(JinjaError) -> JinjaExpression {
        var left = try parsePower()
        while case .symbol(let symbol) = current, ["*", "/", "//", "%"].contains(symbol),
            let operation = JinjaOperator(rawValue: symbol)
        {
            position += 1
            left = .binary(operation, left, try parsePower())
        }
        return left
    }

    private mutating func parsePower() throws(JinjaError) -> JinjaExpression {
        var left = try parseUnary()
        while take("**") { left = .binary(.power, left, try parseUnary()) }
        return left
    }

    private mutating func parseUnary(withFilters: Bool = true) throws(JinjaError) -> JinjaExpression {
        depth += 1
        defer { depth -= 1 }
        if depth > 2 * Self.depthLimit { throw .failed("it is nested too deeply") }
        var value: JinjaExpression
        if take("-") {
            value = .negative(try parseUnary(withFilters: false))
        } else if take("+") {
            value = .positive(try parseUnary(withFilters: false))
        } else {
            value = try parsePrimary()
        }
        value = try parsePostfix(of: value)
        return withFilters ? try parseFilters(of: value) : value
    }

    private mutating func parsePrimary() throws(JinjaError) -> JinjaExpression {
        guard let word = current else { throw .failed("an expression is missing in a tag") }
        position += 1
        switch word {
        case .integer(let value): return .literal(.integer(value))
        case .float(let value): return .literal(.float(value))
        case .text(var text):
            // Texts side by side are one.
            while case .text(let more) = current {
                text += more
                position += 1
            }
            return .literal(.text(text))
        case .name("true"), .name("True"): return .literal(.bool(true))
        case .name("false"), .name("False"): return .literal(.bool(false))
        case .name("none"), .name("None"): return .literal(.none)
        case .name(let name):
            if ["caller", "kwargs", "varargs"].contains(name), !macroNames.isEmpty {
                macroNames[macroNames.count - 1].insert(name)
            }
            return .name(name)
        case .symbol("("):
            let value = try parseTuple(inBrackets: true)
            try expect(")")
            return value
        case .symbol("["): return .list(try parseList())
        case .symbol("{"): return try parseDictionary()
        default: throw .failed("an expression cannot begin with '\(word.shown)'")
        }
    }

    private mutating func parseList() throws(JinjaError) -> [JinjaExpression] {
        var elements: [JinjaExpression] = []
        while !take("]") {
            if !elements.isEmpty { try expect(",") }
            if take("]") { break }
            elements.append(try parseExpression())
        }
        return elements
    }

    private mutating func parseDictionary() throws(JinjaError) -> JinjaExpression {
        var members: [(key: JinjaExpression, value: JinjaExpression)] = []
        while !take("}") {
            if !members.isEmpty { try expect(",") }
            if take("}") { break }
            let key = try parseExpression()
            try expect(":")
            members.append((key, try parseExpression()))
        }
        return .dictionary(members)
    }

    // MARK: What follows a value

    private mutating func parsePostfix(of value: JinjaExpression) throws(JinjaError) -> JinjaExpression {
        var value = value
        while true {
            if take(".") {
                if case .integer(let index) = current {
                    position += 1
                    value = .element(value, .literal(.integer(index)))
                } else {
                    value = .attribute(value, try parseName("an attribute"))
                }
            } else if take("[") {
                value = try parseSubscript(of: value)
            } else if take("(") {
                value = .call(value, try parseArguments())
            } else {
                return value
            }
        }
    }

    private mutating func parseSubscript(of value: JinjaExpression) throws(JinjaError) -> JinjaExpression {
        var indices: [JinjaExpression] = []
        while !take("]") {
            if !indices.isEmpty { try expect(",") }
            if case .symbol(":") = current {
                guard indices.isEmpty else { throw .failed("'[]' has several indices and a slice") }
                return try parseSlice(of: value, start: nil)
            }
            let index = try parseExpression()
            if case .symbol(":") = current {
                guard indices.isEmpty else { throw .failed("'[]' has several indices and a slice") }
                return try parseSlice(of: value, start: index)
            }
            indices.append(index)
        }
        if indices.isEmpty { throw .failed("an index is missing in '[]'") }
        return .element(value, indices.count == 1 ? indices[0] : .tuple(indices))
    }

    /// A slice from its first colon on.
    private mutating func parseSlice(
        of value: JinjaExpression, start: JinjaExpression?
    ) throws(JinjaError) -> JinjaExpression {
        try expect(":")
        var slice = JinjaSlice(start: start)
        if current != .symbol(":"), current != .symbol("]") { slice.stop = try parseExpression() }
        if take(":"), current != .symbol("]") { slice.step = try parseExpression() }
        try expect("]")
        return .slice(value, slice)
    }

    /// The arguments after an opening bracket.
    private mutating func parseArguments() throws(JinjaError) -> JinjaArguments {
        var arguments = JinjaArguments()
        var isFirst = true
        while !take(")") {
            if !isFirst { try expect(",") }
            if take(")") {
                if isFirst { throw .failed("')' was not expected in a tag") }
                break
            }
            isFirst = false
            if take("**") {
                guard arguments.moreNamed == nil else { throw .failed("a call has '**' twice") }
                arguments.moreNamed = try parseExpression()
            } else if take("*") {
                guard arguments.morePositional == nil, arguments.moreNamed == nil else {
                    throw .failed("a call has '*' out of place")
                }
                arguments.morePositional = try parseExpression()
            } else if case .name(let name) = current, next == .symbol("=") {
                guard arguments.moreNamed == nil else { throw .failed("an argument follows '**'") }
                position += 2
                arguments.named.append((name, try parseExpression()))
            } else {
                guard arguments.morePositional == nil, arguments.moreNamed == nil, arguments.named.isEmpty else {
                    throw .failed("an argument without a name follows one with it")
                }
                arguments.positional.append(try parseExpression())
            }
        }
        return arguments
    }

    // MARK: Filters and tests

    private mutating func parseFilters(of value: JinjaExpression) throws(JinjaError) -> JinjaExpression {
        var value = value
        while true {
            if current == .symbol("|") {
                value = try parseFilterChain(of: value)
            } else if takeName("is") {
                value = try parseTest(of: value)
            } else if take("(") {
                value = .call(value, try parseArguments())
            } else {
                return value
            }
        }
    }

    private mutating func parseDottedName(_ what: String) throws(JinjaError) -> String {
        var name = try parseName(what)
        while take(".") { name += "." + (try parseName(what)) }
        return name
    }

    /// Filters, each behind a bar; where they begin with a filter's name, the first has none.
    mutating func parseFilterChain(of value: JinjaExpression, first: Bool = false) throws(JinjaError) -> JinjaExpression
    {
        var value = value
        var isFirst = first
        while isFirst || take("|") {
            isFirst = false
            let name = try parseDottedName("a filter")
            if !isConditional, !JinjaFilter.names.contains(name) { unknown.append("it has the filter '\(name)'") }
            value = .filter(value, name, take("(") ? try parseArguments() : JinjaArguments())
        }
        return value
    }

    private mutating func parseTest(of value: JinjaExpression) throws(JinjaError) -> JinjaExpression {
        let isNegated = takeName("not")
        let name = try parseDottedName("a test")
        if !isConditional, !JinjaTest.names.contains(name) { unknown.append("it has the test '\(name)'") }
        var arguments = JinjaArguments()
        if take("(") {
            arguments = try parseArguments()
        } else if startsTestArgument {
            if current == .name("is") { throw .failed("two tests follow one another") }
            arguments.positional = [try parsePostfix(of: parsePrimary())]
        }
        let test = JinjaExpression.test(value, name, arguments)
        return isNegated ? .not(test) : test
    }

    /// Whether the next word is a test's argument without brackets.
    private var startsTestArgument: Bool {
        switch current {
        case .name(let name): !["else", "or", "and"].contains(name)
        case .text, .integer, .float, .symbol("["), .symbol("{"): true
        default: false
        }
    }
}
