import TensorCore

/// Sizes of an update: rows are the module's outputs, columns its inputs.
struct UpdateSize: Equatable {
    let rows: Int
    let columns: Int

    var shape: [Int] { [rows, columns] }
}

/// Looks for a module's matrix at one path of a base, in each of the forms in which files hold such a matrix.
struct PlaceProbe {
    let base: BaseNames
    let families: [NamingFamily]
    /// The adapter's name for what is looked for, for messages.
    let name: String

    /// Suffixes of tensors that hold a linear layer's weight in blocks, by which such a layer is known.
    static let packedWeights = ["qweight", "weight_packed", "qweight_packed", "w_q", "weight_blocks"]

    /// What the names of such tensors end in where they are parameters, as packed experts are.
    static let packedParameters = ["_blocks", "_qweight", "_packed"]

    /// What lies beside a weight in bitsandbytes' 4 bits.
    private static let scales = [".absmax", ".quant_map"]

    /// A linear layer's places: its own tensor, one that several modules share, or rows of packed experts.
    func linear(_ path: String, _ update: UpdateSize) throws(NamingError) -> [MatrixPlace]? {
        for tensor in [path + ".weight", path + ".in_proj_weight"] {
            if let shape = base.shapes[tensor] { return try whole(tensor, shape, of: path, update) }
        }
        for family in families {
            for fusion in family.fusions {
                if let found = try part(of: fusion, path, update) { return found }
                if let found = try parts(of: fusion, path, update) { return found }
            }
        }
        return try ExpertProbe(self).member(path, update)
    }

    /// The tensor that holds a matrix in blocks of a quantization.
    static func blocks(of matrix: AdaptedMatrix, at path: String, in base: BaseNames) -> String? {
        guard case .parameter(_, let parameter, _) = matrix else {
            let own = packedWeights.lazy.map { "\(path).\($0)" }.first { base.shapes[$0] != nil }
            let probe = PlaceProbe(base: base, families: [], name: path)
            return own ?? ExpertProbe(probe).blocks(at: path)
        }
        return packedParameters.lazy.map { "\(path).\(parameter ?? "gate_up_proj")\($0)" }
            .first { base.shapes[$0] != nil }
    }

    /// An embedding's place.
    func embedding(_ path: String, _ update: UpdateSize) throws(NamingError) -> [MatrixPlace]? {
        let tensor = path + ".weight"
        guard let shape = base.shapes[tensor] else { return nil }
        let first = base.rowsDropped(of: tensor)
        guard shape.count == 2, [shape[0] + first, shape[1]] == update.shape else {
            throw wrongShape(tensor, shape, update)
        }
        return [MatrixPlace(tensor: tensor, rows: first..<update.rows)]
    }

    /// A convolution's place.
    func convolution(_ path: String, _ update: UpdateSize) throws(NamingError) -> [MatrixPlace]? {
        let tensor = path + ".weight"
        guard let shape = base.shapes[tensor] else { return nil }
        guard shape.count > 2, shape[0] == update.rows else { throw wrongShape(tensor, shape, update) }
        let kernel = shape.dropFirst(2).reduce(1, *)
        guard kernel * shape[1] == update.columns else {
            if kernel > 0, update.columns % kernel == 0, update.columns > kernel * shape[1] {
                throw .groupedConvolution(
                    name: name, tensor: tensor, channels: update.columns / kernel, found: shape[1])
            }
            throw wrongShape(tensor, shape, update)
        }
        return [MatrixPlace(tensor: tensor, rows: 0..<update.rows)]
    }

    /// A parameter's places, one list for each of `count` experts.
    func parameter(
        _ module: String, name parameter: String?, count: Int, _ update: UpdateSize
    ) throws(NamingError) -> [[MatrixPlace]]? {
        let experts = ExpertProbe(self)
        if let found = try experts.all(module, parameter: parameter, count: count, update) { return found }
        if let parameter, let found = try experts.named(module, parameter, count, update) { return found }
        guard count == 1 else { return nil }
        let tensor = NamePath.path(module, parameter ?? "weight")
        guard let shape = base.shapes[tensor] else { return nil }
        guard shape == update.shape else { throw wrongShape(tensor, shape, update) }
        return [[MatrixPlace(tensor: tensor, rows: 0..<update.rows)]]
    }

    func wrongShape(_ tensor: String, _ shape: [Int], _ update: UpdateSize) -> NamingError {
        .wrongShape(name: name, tensor: tensor, update: update.shape, found: shape)
    }

    /// The place of a matrix that is a tensor by itself.
    private func whole(
        _ tensor: String, _ shape: [Int], of path: String, _ update: UpdateSize
    ) throws(NamingError) -> [MatrixPlace] {
        for suffix in Self.scales where base.shapes[tensor + suffix] != nil {
            throw .quantized(name: name, tensor: tensor + suffix)
        }
        let isPlain = shape == update.shape
        let isTransposed = shape.count == 2 && shape == [update.columns, update.rows]
        guard isPlain || isTransposed else { throw wrongShape(tensor, shape, update) }
        let known = base.isStoredTransposed(path)
        if isPlain && isTransposed {
            guard let known else { throw .unclearOrientation(name: name, tensor: tensor, size: update.rows) }
            return [MatrixPlace(tensor: tensor, isTransposed: known, rows: 0..<update.rows)]
        }
        // A layer that is no `Conv1D` for sure fits in one way only.
        if isTransposed, known == false { throw wrongShape(tensor, shape, update) }
        return [MatrixPlace(tensor: tensor, isTransposed: isTransposed, rows: 0..<update.rows)]
    }

    /// The rows of a tensor of several modules that are this module's.
    private func part(
        of fusion: NamingFamily.Fusion, _ path: String, _ update: UpdateSize
    ) throws(NamingError) -> [MatrixPlace]? {
        for (index, part) in fusion.parts.enumerated() {
            guard let stem = Self.stem(of: path, suffix: part) else { continue }
            let tensor = NamePath.path(stem, fusion.whole) + ".weight"
            guard let shape = base.shapes[tensor] else { continue }
            let count = fusion.parts.count
            guard shape.count == 2, shape[1] == update.columns,
                let offset = Self.offset(of: index, among: count, size: update.rows, total: shape[0]),
                !fusion.isInTurn || count * update.rows == shape[0]
            else { throw wrongShape(tensor, shape, update) }
            var place = MatrixPlace(
                tensor: tensor, rows: 0..<update.rows, offset: fusion.isInTurn ? index : offset)
            if fusion.isInTurn { place.step = count }
            return [place]
        }
        return nil
    }

    /// The modules' own tensors that the rows of a module lie in which is several of theirs.
    private func parts(
        of fusion: NamingFamily.Fusion, _ path: String, _ update: UpdateSize
    ) throws(NamingError) -> [MatrixPlace]? {
        guard !fusion.isInTurn, let stem = Self.stem(of: path, suffix: fusion.whole) else { return nil }
        var places: [MatrixPlace] = []
        var start = 0
        for part in fusion.parts {
            let tensor = NamePath.path(stem, part) + ".weight"
            guard let shape = base.shapes[tensor] else { return nil }
            guard shape.count == 2, shape[1] == update.columns else { throw wrongShape(tensor, shape, update) }
            places.append(MatrixPlace(tensor: tensor, rows: start..<start + shape[0]))
            start += shape[0]
        }
        guard start == update.rows else {
            throw .wrongShape(
                name: name, tensor: places[0].tensor, update: update.shape, found: [start, update.columns])
        }
        return places
    }

    /// The row at which a part of `size` rows begins: parts of one size, or a first one and two of another size (queries,
    /// keys and values); nil where the sizes do not add up.
    static func offset(of index: Int, among count: Int, size: Int, total: Int) -> Int? {
        if size * count == total { return index * size }
        guard count == 3, size < total else { return nil }
        if index == 0 { return (total - size) % 2 == 0 ? 0 : nil }
        return total > 2 * size ? total - (3 - index) * size : nil
    }

    /// `path` without `suffix` and the dot before it; nil where it does not end so.
    static func stem(of path: String, suffix: String) -> String? {
        path.hasSameBytes(as: suffix)
            ? ""
            : path.endsInBytes(of: "." + suffix) ? String(path.dropLast(suffix.utf8.count + 1)) : nil
    }
}
