/// Reads the statements and expressions of a Jinja template; what it does not know is an error that names it.
struct JinjaParser {
    /// Levels of nesting allowed, of brackets and of blocks.
    private static let depthLimit = 60

    private let parts: [JinjaPart]
    private var place = 0
    private var words: [JinjaWord] = []
    private var position = 0
    private var depth = 0

    /// The statements of `template`.
    static func statements(of template: String) throws(TokenizationError) -> [JinjaStatement] {
        var parser = JinjaParser(parts: try JinjaLexer.parts(of: template))
        return try parser.parseBody(until: []).body
    }

    private init(parts: [JinjaPart]) {
        self.parts = parts
    }

    private func failure(_ problem: String) -> TokenizationError { .unsupportedTemplate(problem: problem) }

    // MARK: Statements

    /// The statements up to a block that begins with one of `ends`, and that word; an empty list goes to the end of the
    /// template. The words of the ending block are left for the caller.
    private mutating func parseBody(
        until ends: [String]
    ) throws(TokenizationError) -> (body: [JinjaStatement], end: String) {
        depth += 1
        defer { depth -= 1 }
        if depth > Self.depthLimit { throw failure("it is nested too deeply") }
        var body: [JinjaStatement] = []
        while place < parts.count {
            let part = parts[place]
            place += 1
            switch part {
            case .text(let text):
                body.append(.text(text))
            case .output(let inside):
                (words, position) = (inside, 0)
                body.append(.output(try parseTuple()))
                try expectEnd()
            case .block(let inside):
                (words, position) = (inside, 0)
                let keyword = try parseName("a statement")
                if ends.contains(keyword) { return (body, keyword) }
                body += try parseStatement(keyword)
            }
        }
        if let end = ends.last { throw failure("'\(end)' is missing") }
        return (body, "")
    }

    /// The statement that a block begins; a transparent one gives its body's.
    private mutating func parseStatement(_ keyword: String) throws(TokenizationError) -> [JinjaStatement] {
        switch keyword {
        case "if": return [try parseCondition()]
        case "for": return [try parseLoop()]
        case "set": return [try parseSet()]
        case "macro": return [try parseMacro()]
        case "generation":
            try expectEnd()
            let body = try parseBody(until: ["endgeneration"]).body
            try expectEnd()
            return [.generation(body)]
        case "break":
            try expectEnd()
            return [.leaveLoop]
        case "continue":
            try expectEnd()
            return [.nextTurn]
        default:
            throw failure("it has the statement '\(keyword)'")
        }
    }

    private mutating func parseCondition() throws(TokenizationError) -> JinjaStatement {
        var branches: [(condition: JinjaExpression, body: [JinjaStatement])] = []
        var otherwise: [JinjaStatement] = []
        while true {
            let condition = try parseExpression()
            try expectEnd()
            let (body, end) = try parseBody(until: ["elif", "else", "endif"])
            branches.append((condition, body))
            if end == "elif" { continue }
            if end == "else" {
                try expectEnd()
                otherwise = try parseBody(until: ["endif"]).body
            }
            try expectEnd()
            return .condition(branches, otherwise: otherwise)
        }
    }

    private mutating func parseLoop() throws(TokenizationError) -> JinjaStatement {
        var names = [try parseName("a loop variable")]
        while take(",") { names.append(try parseName("a loop variable")) }
        guard takeName("in") else { throw failure("'in' is missing in a loop") }
        let source = try parseOr()
        let filter = takeName("if") ? try parseExpression() : nil
        try expectEnd()
        let (body, end) = try parseBody(until: ["else", "endfor"])
        var otherwise: [JinjaStatement] = []
        if end == "else" {
            try expectEnd()
            otherwise = try parseBody(until: ["endfor"]).body
        }
        try expectEnd()
        return .loop(names: names, over: source, filter: filter, body: body, otherwise: otherwise)
    }

    private mutating func parseSet() throws(TokenizationError) -> JinjaStatement {
        let name = try parseName("a variable")
        let member = take(".") ? try parseName("a member") : nil
        guard take("=") else {
            try expectEnd()
            if member != nil { throw failure("a block sets a member") }
            let body = try parseBody(until: ["endset"]).body
            try expectEnd()
            return .setBlock(name, body)
        }
        let value = try parseTuple()
        try expectEnd()
        if let member { return .setMember(name, member, value) }
        return .set(name, value)
    }

    private mutating func parseMacro() throws(TokenizationError) -> JinjaStatement {
        let name = try parseName("a macro's name")
        try expect("(")
        var parameters: [(name: String, standard: JinjaExpression?)] = []
        while !take(")") {
            if !parameters.isEmpty { try expect(",") }
            let parameter = try parseName("a macro's parameter")
            parameters.append((parameter, take("=") ? try parseExpression() : nil))
        }
        try expectEnd()
        let body = try parseBody(until: ["endmacro"]).body
        // The name may stand there again.
        if position < words.count { _ = try parseName("a macro's name") }
        try expectEnd()
        return .macro(JinjaMacro(name: name, parameters: parameters, body: body))
    }

    // MARK: Words

    private var current: JinjaWord? { position < words.count ? words[position] : nil }

    private mutating func take(_ symbol: String) -> Bool {
        guard current == .symbol(symbol) else { return false }
        position += 1
        return true
    }

    private mutating func takeName(_ name: String) -> Bool {
        guard current == .name(name) else { return false }
        position += 1
        return true
    }

    private mutating func expect(_ symbol: String) throws(TokenizationError) {
        guard take(symbol) else {
            throw failure("'\(symbol)' is missing before '\(current?.shown ?? "the tag's end")'")
        }
    }

    private func expectEnd() throws(TokenizationError) {
        if let current { throw failure("'\(current.shown)' was not expected in a tag") }
    }

    private mutating func parseName(_ what: String) throws(TokenizationError) -> String {
        guard case .name(let name) = current else {
            throw failure("\(what) was expected, not '\(current?.shown ?? "the tag's end")'")
        }
        position += 1
        return name
    }

    // MARK: Expressions, from the loosest binding to the tightest

    /// An expression, or several with commas as a list.
    private mutating func parseTuple() throws(TokenizationError) -> JinjaExpression {
        let first = try parseExpression()
        guard current == .symbol(",") else { return first }
        var elements = [first]
        while take(",") { elements.append(try parseExpression()) }
        return .list(elements)
    }

    private mutating func parseExpression() throws(TokenizationError) -> JinjaExpression {
        depth += 1
        defer { depth -= 1 }
        if depth > Self.depthLimit { throw failure("it is nested too deeply") }
        let value = try parseOr()
        guard takeName("if") else { return value }
        let condition = try parseOr()
        let otherwise = takeName("else") ? try parseExpression() : nil
        return .conditional(value, condition: condition, otherwise: otherwise)
    }

    private mutating func parseOr() throws(TokenizationError) -> JinjaExpression {
        var left = try parseAnd()
        while takeName("or") { left = .binary("or", left, try parseAnd()) }
        return left
    }

    private mutating func parseAnd() throws(TokenizationError) -> JinjaExpression {
        var left = try parseNot()
        while takeName("and") { left = .binary("and", left, try parseNot()) }
        return left
    }

    private mutating func parseNot() throws(TokenizationError) -> JinjaExpression {
        var negations = 0
        while takeName("not") { negations += 1 }
        let value = try parseComparison()
        // Two negations still make a truth value of it.
        return negations == 0 ? value : negations % 2 == 1 ? .not(value) : .not(.not(value))
    }

    private mutating func parseComparison() throws(TokenizationError) -> JinjaExpression {
        let left = try parseSum()
        var chain: [(operation: String, right: JinjaExpression)] = []
        while true {
            if case .symbol(let symbol) = current, ["==", "!=", "<", "<=", ">", ">="].contains(symbol) {
                position += 1
                chain.append((symbol, try parseSum()))
            } else if takeName("in") {
                chain.append(("in", try parseSum()))
            } else if current == .name("not"), position + 1 < words.count, words[position + 1] == .name("in") {
                position += 2
                chain.append(("not in", try parseSum()))
            } else {
                return chain.isEmpty ? left : .comparison(left, chain)
            }
        }
    }

    private mutating func parseSum() throws(TokenizationError) -> JinjaExpression {
        var left = try parseConcatenation()
        while true {
            if take("+") {
                left = .binary("+", left, try parseConcatenation())
            } else if take("-") {
                left = .binary("-", left, try parseConcatenation())
            } else {
                return left
            }
        }
    }

    private mutating func parseConcatenation() throws(TokenizationError) -> JinjaExpression {
        var left = try parseProduct()
        while take("~") { left = .binary("~", left, try parseProduct()) }
        return left
    }

    private mutating func parseProduct() throws(TokenizationError) -> JinjaExpression {
        var left = try parseUnary()
        while case .symbol(let symbol) = current, ["*", "/", "//", "%", "**"].contains(symbol) {
            position += 1
            left = .binary(symbol, left, try parseUnary())
        }
        return left
    }

    private mutating func parseUnary() throws(TokenizationError) -> JinjaExpression {
        if take("-") { return .negative(try parseUnaryOperand()) }
        return try parseFilters(of: parsePostfix(of: parsePrimary()))
    }

    /// What a minus stands before; filters apply to the negated value in Jinja too, but nobody writes that.
    private mutating func parseUnaryOperand() throws(TokenizationError) -> JinjaExpression {
        try parsePostfix(of: parsePrimary())
    }

    private mutating func parsePrimary() throws(TokenizationError) -> JinjaExpression {
        guard let word = current else { throw failure("an expression is missing in a tag") }
        position += 1
        switch word {
        case .integer(let value): return .literal(.integer(value))
        case .text(var text):
            // Texts side by side are one.
            while case .text(let more) = current {
                text += more
                position += 1
            }
            return .literal(.plain(text))
        case .name("true"), .name("True"): return .literal(.bool(true))
        case .name("false"), .name("False"): return .literal(.bool(false))
        case .name("none"), .name("None"): return .literal(.none)
        case .name(let name): return .name(name)
        case .symbol("("):
            if take(")") { return .list([]) }
            var elements = [try parseExpression()]
            var isTuple = false
            while take(",") {
                isTuple = true
                if current == .symbol(")") { break }
                elements.append(try parseExpression())
            }
            try expect(")")
            return isTuple ? .list(elements) : elements[0]
        case .symbol("["):
            var elements: [JinjaExpression] = []
            while !take("]") {
                if !elements.isEmpty { try expect(",") }
                if take("]") { break }
                elements.append(try parseExpression())
            }
            return .list(elements)
        case .symbol("{"):
            var members: [(key: JinjaExpression, value: JinjaExpression)] = []
            while !take("}") {
                if !members.isEmpty { try expect(",") }
                if take("}") { break }
                let key = try parseExpression()
                try expect(":")
                members.append((key, try parseExpression()))
            }
            return .dictionary(members)
        default:
            throw failure("an expression cannot begin with '\(word.shown)'")
        }
    }

    private mutating func parsePostfix(of value: JinjaExpression) throws(TokenizationError) -> JinjaExpression {
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

    private mutating func parseSubscript(of value: JinjaExpression) throws(TokenizationError) -> JinjaExpression {
        var bounds: [JinjaExpression?] = [nil]
        var isSlice = false
        while !take("]") {
            if take(":") {
                isSlice = true
                bounds.append(nil)
            } else if bounds.last! == nil {
                bounds[bounds.count - 1] = try parseExpression()
            } else {
                throw failure("']' is missing")
            }
        }
        if !isSlice, let index = bounds[0] { return .element(value, index) }
        guard isSlice, bounds.count <= 3 else { throw failure("an index is missing in '[]'") }
        return .slice(value, start: bounds[0], stop: bounds[1], step: bounds.count > 2 ? bounds[2] : nil)
    }

    /// The arguments after an opening bracket.
    private mutating func parseArguments() throws(TokenizationError) -> JinjaArguments {
        var arguments = JinjaArguments()
        var isFirst = true
        while !take(")") {
            if !isFirst { try expect(",") }
            isFirst = false
            if take(")") { break }
            if case .name(let name) = current, position + 1 < words.count, words[position + 1] == .symbol("=") {
                position += 2
                arguments.named.append((name, try parseExpression()))
            } else {
                arguments.positional.append(try parseExpression())
            }
        }
        return arguments
    }

    private mutating func parseFilters(of value: JinjaExpression) throws(TokenizationError) -> JinjaExpression {
        var value = value
        while true {
            if take("|") {
                let name = try parseName("a filter")
                value = .filter(value, name, take("(") ? try parseArguments() : JinjaArguments())
            } else if takeName("is") {
                let isNegated = takeName("not")
                let name = try parseName("a test")
                var arguments = JinjaArguments()
                if take("(") {
                    arguments = try parseArguments()
                } else if Self.testsWithArgument.contains(name) {
                    arguments.positional = [try parsePostfix(of: parsePrimary())]
                }
                let test = JinjaExpression.test(value, name, arguments)
                value = isNegated ? .not(test) : test
            } else {
                return value
            }
        }
    }

    private static let testsWithArgument = ["divisibleby", "eq", "equalto", "ne", "sameas", "in"]
}
