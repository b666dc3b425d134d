import TensorCore

/// Opening a model of one GGUF file or of several.
extension GGUFSplit {
    /// The files of a model and what is in them.
    struct Model {
        /// The files, parts in order.
        let files: [MappedFile]
        /// The first file's metadata.
        let metadata: GGUFMetadata
        /// The tensors of all parts, in order.
        let tensors: [TensorRecord]
    }

    /// What a file says of the split that it is part of.
    private struct Claim {
        /// The part's number from 0 on.
        let number: Int
        /// Parts, at least 2.
        let count: Int
        /// Tensors of all parts, where the file says.
        let tensorCount: Int?
        var words: String { "part \(number + 1) of \(count)" }
    }

    /// Opens the model that `file` is, or is any part of: the other parts lie beside it, under names that differ in
    /// their numbers only.
    ///
    /// Throws what `GGUFHeader` throws, and `malformed` or `badTensor` where a part is missing, is another than its
    /// name says, disagrees with the others about the number of parts or tensors, or has a tensor that another one has.
    static func open(_ file: MappedFile) throws(CheckpointError) -> Model {
        let header = try GGUFHeader(file: file)
        guard let claim = try claim(of: header, file.path) else {
            return Model(files: [file], metadata: header.metadata, tensors: header.tensors)
        }
        let ending = suffix(part: claim.number, of: claim.count)
        guard file.path.hasSuffix(ending), lastPathComponent(file.path) != ending else {
            throw .malformed(
                file: file.path,
                problem: "is \(claim.words) of a split model, so its name must end in '\(ending)'; give it its name "
                    + "back")
        }
        let prefix = String(file.path.dropLast(ending.count))
        var files: [MappedFile] = []
        var tensors: [TensorRecord] = []
        var metadata = header.metadata
        var tensorCount = claim.tensorCount
        for number in 0..<claim.count {
            let part = number == claim.number ? file : try openPart(prefix, number, claim)
            let header = try GGUFHeader(file: part, fileIndex: number)
            let stated = try check(header, part.path, isPart: number, of: claim)
            if number == 0 { (metadata, tensorCount) = (header.metadata, stated) }
            if let stated, let tensorCount, stated != tensorCount {
                throw .malformed(
                    file: part.path,
                    problem: "states \(stated) tensors of all parts ('\(tensorCountKey)'), the first part "
                        + "\(tensorCount)")
            }
            files.append(part)
            tensors += header.tensors
        }
        try refuseRepeated(tensors, files)
        guard let tensorCount, tensorCount == tensors.count else {
            let stated = tensorCount.map { "is \($0)" } ?? "is missing"
            throw .malformed(
                file: files[0].path,
                problem: "'\(tensorCountKey)' \(stated), but the \(claim.count) parts hold \(tensors.count) tensors")
        }
        return Model(files: files, metadata: metadata, tensors: tensors)
    }

    private static func openPart(_ prefix: String, _ number: Int, _ claim: Claim) throws(CheckpointError) -> MappedFile
    {
        let path = path(prefix: prefix, part: number, of: claim.count)
        guard pathKind(path) != .nothing else {
            throw .malformed(
                file: prefix + suffix(part: claim.number, of: claim.count),
                problem:
                    "the part '\(lastPathComponent(path))' of this model is not there; all \(claim.count) must lie "
                    + "in one directory")
        }
        return try MappedFile.open(path)
    }

    /// Checks that a file is the part that its name says; gives the number of tensors that it states for all parts.
    private static func check(
        _ header: GGUFHeader, _ path: String, isPart number: Int, of other: Claim
    ) throws(CheckpointError) -> Int? {
        guard let claim = try claim(of: header, path) else {
            throw .malformed(
                file: path,
                problem: "is named as part \(number + 1) of \(other.count), but is no part of a split model "
                    + "(it has no '\(countKey)')")
        }
        guard claim.number == number, claim.count == other.count else {
            throw .malformed(
                file: path,
                problem: "is \(claim.words) by its metadata, where part \(number + 1) of \(other.count) belongs")
        }
        return claim.tensorCount
    }

    /// What the metadata say of a split; nil for a model in one file.
    private static func claim(of header: GGUFHeader, _ path: String) throws(CheckpointError) -> Claim? {
        func integer(_ key: String, in range: ClosedRange<Int>) throws(CheckpointError) -> Int? {
            guard let value = header.metadata[key] else { return nil }
            guard let number = value.integer(in: range) else {
                let found = value.integer(in: .anything).map { "\($0)" } ?? "no integer"
                throw .malformed(
                    file: path,
                    problem: "'\(key)' is \(found); it must be from \(range.lowerBound) to \(range.upperBound)")
            }
            return number
        }
        guard let count = try integer(countKey, in: 0...partLimit), count > 1 else { return nil }
        guard let number = try integer(numberKey, in: 0...count - 1) else {
            throw .malformed(file: path, problem: "is one of \(count) parts of a model, but has no '\(numberKey)'")
        }
        return Claim(
            number: number, count: count, tensorCount: try integer(tensorCountKey, in: 0...Int(Int32.max)))
    }

    private static func refuseRepeated(_ tensors: [TensorRecord], _ files: [MappedFile]) throws(CheckpointError) {
        var partOfTensor: NameTable<Int> = [:]
        for tensor in tensors {
            guard let other = partOfTensor.updateValue(tensor.fileIndex, forKey: tensor.name) else { continue }
            throw .badTensor(
                file: files[tensor.fileIndex].path, tensor: tensor.name, expected: "it may be in one part only",
                found: "is in '\(lastPathComponent(files[other].path))' too")
        }
    }
}
