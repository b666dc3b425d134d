/// Where everything lies in a tensor file that is to be written: the header's bytes, then each tensor in the order of
/// the entries. What lies between is zeros.
package struct TensorFileLayout: Sendable, Equatable {
    /// The first bytes of the file.
    package let header: [UInt8]
    /// Bytes of the file that each entry's data take.
    package let ranges: [Range<Int>]
    /// Bytes of the whole file, with padding after the last tensor where the format has it.
    package let byteCount: Int

    /// A layout; see the properties.
    package init(header: [UInt8], ranges: [Range<Int>], byteCount: Int) {
        self.header = header
        self.ranges = ranges
        self.byteCount = byteCount
    }
}
