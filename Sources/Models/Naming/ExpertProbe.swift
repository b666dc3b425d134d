import TensorCore

/// Looks for the matrices of a mixture's experts: files hold a tensor for each expert, or all of one kind packed, gate and up
/// together or apart.
struct ExpertProbe {
    private let probe: PlaceProbe
    private var shapes: NameTable<[Int]> { probe.base.shapes }

    init(_ probe: PlaceProbe) { self.probe = probe }

    /// Which of an expert's matrices.
    private enum Role: CaseIterable {
        case gateAndUp, gate, up, down

        /// Names within `experts`, those that transformers uses first.
        var names: [String] {
            switch self {
            case .gateAndUp: ["gate_up_proj", "w13", NamingTable.interleavedFile, "input_linear", "fc1"]
            case .gate: ["gate_proj", "w1", "fc1"]
            case .up: ["up_proj", "w3", "fc3"]
            case .down: ["down_proj", "w2", "fc2", "w2_weight", "output_linear"]
            }
        }
    }

    /// Sets of names for an expert's own matrices: gate, up, down.
    private static let memberNames: [[Role: String]] = [
        [.gate: "gate_proj", .up: "up_proj", .down: "down_proj", .gateAndUp: "gate_up_proj"],
        [.gate: "w1", .up: "w3", .down: "w2"], [.gate: "fc1", .up: "fc3", .down: "fc2"],
    ]

    /// The places of one expert's matrix, named as transformers 4 did (`experts.3.gate_proj`), in packed tensors.
    func member(_ path: String, _ update: UpdateSize) throws(NamingError) -> [MatrixPlace]? {
        let (owner, last) = NamePath.parent(path)
        if let found = try listed(owner, last, update) { return found }
        let (stem, number) = NamePath.parent(owner)
        guard let expert = Int(number), NamePath.isNumber(number[...]), NamePath.parent(stem).last == "experts" else {
            return nil
        }
        for names in Self.memberNames {
            guard let role = names.first(where: { $0.value == last })?.key else { continue }
            if let found = try packed(stem, role, update, only: expert) { return found.first }
            let others = [0, 1].contains { shapes["\(stem).\($0).\(last).weight"] != nil }
            if others, let count = count(of: stem, names) {
                throw .missingExpert(name: probe.name, tensor: "\(path).weight", count: count)
            }
        }
        return nil
    }

    /// The places of one expert's matrix that is called as in a list of all experts' (`experts.gate_up_projs.3`), as
    /// some programs take packed experts apart.
    private func listed(_ owner: String, _ number: String, _ update: UpdateSize) throws(NamingError) -> [MatrixPlace]? {
        let (stem, list) = NamePath.parent(owner)
        guard let expert = Int(number), NamePath.isNumber(number[...]), NamePath.parent(stem).last == "experts",
            list.hasSuffix("s"), let role = Self.memberNames[0].first(where: { $0.value == list.dropLast() })?.key
        else { return nil }
        return try packed(stem, role, update, only: expert)?.first
    }

    /// The tensor in which the files hold the experts' matrices in blocks of a quantization, if `path` means one of them.
    func blocks(at path: String) -> String? {
        let (owner, last) = NamePath.parent(path)
        let (outer, list) = NamePath.parent(owner)
        for stem in [outer, owner] where NamePath.parent(stem).last == "experts" {
            let name = stem == owner ? last : NamePath.isNumber(last[...]) ? String(list.dropLast()) : last
            let parts = ["gate_proj", "up_proj"].contains(name) ? [name, "gate_up_proj"] : [name]
            for part in parts {
                for suffix in PlaceProbe.packedParameters where shapes["\(stem).\(part)\(suffix)"] != nil {
                    return "\(stem).\(part)\(suffix)"
                }
            }
        }
        return nil
    }

    /// The places of a parameter of all experts, one list each.
    func all(
        _ module: String, parameter: String?, count: Int, _ update: UpdateSize
    ) throws(NamingError) -> [[MatrixPlace]]? {
        // Nothing lies in a tensor of no values, however many experts it is said to have.
        guard update.rows > 0, update.columns > 0 else { return nil }
        var fitting: [(name: String, places: [[MatrixPlace]])] = []
        var problem: NamingError?
        for (stem, role) in Self.readings(module, parameter) {
            do throws(NamingError) {
                var found = try packed(stem, role, update)
                if found == nil { found = try apart(stem, role, count, update) }
                guard let places = found else { continue }
                guard places.count == count else {
                    throw NamingError.wrongExpertCount(name: probe.name, expected: count, found: places.count)
                }
                if update.rows == update.columns { try checkFactors(places[0]) }
                if !fitting.contains(where: { $0.places == places }) { fitting.append((role.names[0], places)) }
            } catch {
                problem = problem ?? error
            }
        }
        if fitting.count > 1 {
            throw .unclearParameter(module: module, candidates: fitting.map { "\(module).\($0.name)" })
        }
        if let found = fitting.first { return found.places }
        if let problem { throw problem }
        return nil
    }

    /// The places of a packed parameter of any name, which is a tensor of exactly that name.
    func named(
        _ module: String, _ parameter: String, _ count: Int, _ update: UpdateSize
    ) throws(NamingError) -> [[MatrixPlace]]? {
        let tensor = NamePath.path(module, parameter)
        guard let shape = shapes[tensor], shape.count == 3 else { return nil }
        guard shape[0] == count else {
            throw .wrongExpertCount(name: probe.name, expected: count, found: shape[0])
        }
        let isPlain = shape[1...] == [update.rows, update.columns]
        let isTransposed = shape[1...] == [update.columns, update.rows]
        guard isPlain || isTransposed else { throw probe.wrongShape(tensor, shape, update) }
        guard isPlain != isTransposed else {
            throw .unclearOrientation(name: probe.name, tensor: tensor, size: update.rows)
        }
        return (0..<count).map {
            [MatrixPlace(tensor: tensor, expert: $0, isTransposed: isTransposed, rows: 0..<update.rows)]
        }
    }

    /// What a parameter can be: the path of the experts and which of their matrices.
    private static func readings(_ module: String, _ parameter: String?) -> [(stem: String, role: Role)] {
        let (parent, last) = NamePath.parent(module)
        // granitemoe's files have a module for each kind, beside which there are no experts.
        if parameter == nil || parameter == "weight" {
            if last == "input_linear" { return [(NamePath.path(parent, "experts"), .gateAndUp)] }
            if last == "output_linear" { return [(NamePath.path(parent, "experts"), .down)] }
        }
        guard let parameter else { return Role.allCases.map { (module, $0) } }
        // By the files' name an update has the files' order, too.
        guard parameter != NamingTable.interleavedFile else { return [] }
        return Role.allCases.filter { $0.names.contains(parameter) }.map { (module, $0) }
    }

    /// The places in packed tensors, one list for each expert.
    private func packed(
        _ stem: String, _ role: Role, _ update: UpdateSize, only expert: Int? = nil
    ) throws(NamingError) -> [[MatrixPlace]]? {
        if let tensor = packedTensor(stem, role) {
            guard NamePath.parent(tensor).last == NamingTable.interleavedFile else {
                return try slices(Slice(tensor: tensor, stem: stem, rows: 0..<update.rows, expert: expert), update)
            }
            return try halvesInTurn(tensor, stem, update, only: expert)
        }
        switch role {
        case .gateAndUp:
            guard let gate = packedTensor(stem, .gate), let up = packedTensor(stem, .up), gate != up else { return nil }
            let half = update.rows / 2
            guard half * 2 == update.rows else { throw probe.wrongShape(gate, shapes[gate] ?? [], update) }
            let step = isInterleaved ? 2 : 1
            func part(_ tensor: String, _ place: Int) throws(NamingError) -> [[MatrixPlace]] {
                let rows = isInterleaved ? place..<update.rows : place * half..<(place + 1) * half
                return try slices(Slice(tensor: tensor, stem: stem, rows: rows, step: step, expert: expert), update)
            }
            let (gates, ups) = (try part(gate, 0), try part(up, 1))
            guard gates.count == ups.count else { throw probe.wrongShape(up, shapes[up] ?? [], update) }
            return zip(gates, ups).map { $0 + $1 }
        case .gate, .up:
            guard let both = packedTensor(stem, .gateAndUp) else { return nil }
            let half = role == .up ? 1 : 0
            return try slices(
                Slice(tensor: both, stem: stem, rows: 0..<update.rows, half: half, expert: expert), update)
        case .down: return nil
        }
    }

    /// Whether gates and ups lie in turn in a tensor of the files.
    private func isInTurn(_ tensor: String) -> Bool {
        NamePath.parent(tensor).last == NamingTable.interleavedFile || isInterleaved
    }

    /// The places of gates and ups, one behind the other in an update, in a tensor where they lie in turn.
    private func halvesInTurn(
        _ tensor: String, _ stem: String, _ update: UpdateSize, only expert: Int?
    ) throws(NamingError) -> [[MatrixPlace]] {
        let half = update.rows / 2
        guard half * 2 == update.rows else { throw probe.wrongShape(tensor, shapes[tensor] ?? [], update) }
        func part(_ place: Int) throws(NamingError) -> [[MatrixPlace]] {
            let rows = place * half..<(place + 1) * half
            return try slices(Slice(tensor: tensor, stem: stem, rows: rows, half: place, expert: expert), update)
        }
        let (gates, ups) = (try part(0), try part(1))
        return zip(gates, ups).map { $0 + $1 }
    }

    private var isInterleaved: Bool {
        !NamingTable.interleavedExperts.isDisjoint(with: probe.base.modelTypes)
    }

    /// The packed tensor of a role.
    private func packedTensor(_ stem: String, _ role: Role) -> String? {
        guard probe.base.packedStems.contains(stem) else { return nil }
        let parent = NamePath.parent(stem).parent
        for name in role.names {
            let owner = name.hasSuffix("put_linear") ? parent : stem
            for tensor in ["\(owner).\(name)", "\(owner).\(name).weight"] where shapes[tensor]?.count == 3 {
                // A packed `fc1` of gate and up is one of gates where `fc3` is beside it.
                if name == "fc1", (shapes["\(owner).fc3.weight"] != nil) != (role == .gate) { continue }
                return tensor
            }
        }
        return nil
    }

    /// What of a packed tensor is looked for.
    private struct Slice {
        let tensor: String
        let stem: String
        /// Rows of the update.
        let rows: Range<Int>
        /// One in so many of them.
        var step = 1
        /// Which half of the tensor's rows they are; nil: all of its rows.
        var half: Int?
        /// One expert; nil: all of them.
        let expert: Int?
    }

    /// A place in each expert's slice of a packed tensor.
    private func slices(_ slice: Slice, _ update: UpdateSize) throws(NamingError) -> [[MatrixPlace]] {
        let (tensor, rows) = (slice.tensor, slice.rows)
        guard let shape = shapes[tensor], shape.count == 3 else { return [] }
        let count = (rows.count + slice.step - 1) / slice.step
        let whole = slice.half == nil ? count : 2 * count
        let isPlain = shape[1] == whole && shape[2] == update.columns
        let isTransposed = shape[2] == whole && shape[1] == update.columns
        guard isPlain || isTransposed else { throw probe.wrongShape(tensor, shape, update) }
        var transposed = isTransposed
        if isPlain && isTransposed {
            guard let known = packedOrientation(slice.stem) else {
                throw .unclearOrientation(name: probe.name, tensor: tensor, size: whole)
            }
            transposed = known
            if slice.expert == nil { transposed = known != (try areExchanged(tensor)) }
        }
        if let expert = slice.expert, expert >= shape[0] {
            throw .missingExpert(name: probe.name, tensor: tensor, count: shape[0])
        }
        let experts = slice.expert.map { $0..<$0 + 1 } ?? 0..<shape[0]
        // One row of gate and one of up, or all of gate before all of up.
        let isMixed = slice.half != nil && isInTurn(tensor)
        let offset = (slice.half ?? 0) * (isMixed ? 1 : count)
        return experts.map { expert in
            var place = MatrixPlace(
                tensor: tensor, expert: expert, isTransposed: transposed, rows: rows, offset: offset)
            (place.rowStep, place.step) = (slice.step, isMixed ? 2 : 1)
            return [place]
        }
    }

    /// Whether B A of a square update of experts is the transpose of their update; throws `.unclearFactors`.
    private func areExchanged(_ tensor: String) throws(NamingError) -> Bool {
        guard let isExchanged = probe.base.expertFactors.areExchanged(modelTypes: probe.base.modelTypes) else {
            throw .unclearFactors(name: probe.name, tensor: tensor)
        }
        return isExchanged
    }

    /// Throws `.unclearFactors` for a square update that lies in several tensors, or beside another in one, and may be the
    /// transpose of what is meant.
    private func checkFactors(_ places: [MatrixPlace]) throws(NamingError) {
        guard let place = places.first, let shape = shapes[place.tensor] else { return }
        if shape.count == 3, places.count == 1, place.offset == 0, shape[1] == shape[2] { return }
        if try areExchanged(place.tensor) {
            throw .unclearFactors(name: probe.name, tensor: place.tensor)
        }
    }

    /// Whether packed tensors are stored [experts, in, out]: as the shapes of both kinds together tell, else by model type.
    private func packedOrientation(_ stem: String) -> Bool? {
        if let first = packedTensor(stem, .gateAndUp) ?? packedTensor(stem, .gate),
            let inner = shapes[first], let outer = packedTensor(stem, .down).flatMap({ shapes[$0] })
        {
            let factor = packedTensor(stem, .gateAndUp) == nil ? 1 : 2
            let plain = inner[1] == factor * outer[2] && inner[2] == outer[1]
            let transposed = inner[2] == factor * outer[1] && inner[1] == outer[2]
            if plain != transposed { return transposed }
        }
        if probe.base.isGGUF { return false }
        let types = probe.base.modelTypes
        if !NamingTable.transposedExperts.isDisjoint(with: types) { return true }
        return NamingTable.plainExperts.isDisjoint(with: types) ? nil : false
    }

    /// The places in a tensor for each expert.
    private func apart(
        _ stem: String, _ role: Role, _ count: Int, _ update: UpdateSize
    ) throws(NamingError) -> [[MatrixPlace]]? {
        guard let (found, names) = members(of: stem) else { return nil }
        guard found == count else {
            throw .wrongExpertCount(name: probe.name, expected: count, found: found)
        }
        var places: [[MatrixPlace]] = []
        places.reserveCapacity(count)
        for expert in 0..<count {
            places.append(try member(stem, expert, role, names, update))
        }
        return places
    }

    /// The places of one expert's matrix in its own tensors.
    private func member(
        _ stem: String, _ expert: Int, _ role: Role, _ names: [Role: String], _ update: UpdateSize
    ) throws(NamingError) -> [MatrixPlace] {
        var parts: [Role] = [role]
        if role == .gateAndUp, names[role].map({ shapes["\(stem).\(expert).\($0).weight"] == nil }) ?? true {
            parts = [.gate, .up]
        }
        let size = update.rows / parts.count
        return try parts.enumerated().map { (index, part) throws(NamingError) in
            let tensor = "\(stem).\(expert).\(names[part] ?? "").weight"
            guard let shape = shapes[tensor] else {
                throw .missingExpert(name: probe.name, tensor: tensor, count: members(of: stem)?.count ?? 0)
            }
            guard shape == [size, update.columns], size * parts.count == update.rows else {
                throw probe.wrongShape(tensor, shape, update)
            }
            return MatrixPlace(tensor: tensor, rows: index * size..<(index + 1) * size)
        }
    }

    /// The number of experts that have tensors of their own, and what these are called.
    private func members(of stem: String) -> (count: Int, names: [Role: String])? {
        for names in Self.memberNames {
            if let count = count(of: stem, names) { return (count, names) }
        }
        return nil
    }

    /// The number of experts that have tensors of these names.
    private func count(of stem: String, _ names: [Role: String]) -> Int? {
        func has(_ expert: Int) -> Bool {
            names.values.contains { shapes["\(stem).\(expert).\($0).weight"] != nil }
        }
        // One may be missing: the count is where two in a row are.
        var count = 0
        while has(count) || has(count + 1) { count += 1 }
        return count > 0 ? count : nil
    }

    /// The modules under which packed tensors lie, `experts` beside those of granitemoe's names.
    static func packedStems(among tensors: [NamedShape]) -> NameSet {
        var stems: NameSet = []
        for tensor in tensors where tensor.shape.count == 3 {
            let (parent, last) = NamePath.parent(tensor.name)
            let owner = last == "weight" ? NamePath.parent(parent).parent : parent
            stems.insert(owner)
            stems.insert(NamePath.path(owner, "experts"))
        }
        return stems
    }
}
