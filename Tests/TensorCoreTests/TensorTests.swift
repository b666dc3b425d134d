import TensorCore
import TestSupport
import Testing

@Suite struct TensorTests {
    @Test(arguments: [DType.f32, .bf16]) func valuesComeBackAsTheyWereCopied(dtype: DType) {
        let pool = BufferPool()
        let tensor = Tensor([2, 3], dtype, pool: pool)
        tensor.copy(from: [1, -2, 0.5, .infinity, 0, -0.0])
        #expect(tensor.toArray() == [1, -2, 0.5, .infinity, 0, -0.0])
        #expect(tensor.count == 6 && tensor.rowByteCount == 3 * dtype.byteCount)
        tensor.clear()
        #expect(tensor.toArray() == [Float](repeating: 0, count: 6))
        #expect(Tensor.zeros([3, 5], dtype, pool: pool).toArray() == [Float](repeating: 0, count: 15))
    }

    @Test func valuesAreRoundedToBF16() {
        let tensor = Tensor([3], .bf16, pool: BufferPool())
        // Halfway cases go to the even neighbour.
        tensor.copy(from: [1 + 0x1p-8, 1 + 0x1.8p-7, 1 + 0x1.01p-8])
        #expect(tensor.toArray() == [1, 1 + 0x1p-6, 1 + 0x1p-7])
    }

    @Test func shapesGiveRowsAndColumns() {
        let pool = BufferPool()
        func sizes(_ shape: [Int]) -> [Int] {
            let tensor = Tensor(shape, pool: pool)
            return [tensor.rows, tensor.columns, tensor.count, tensor.capacityRows]
        }
        #expect(sizes([7]) == [1, 7, 7, 1])
        #expect(sizes([1, 7]) == [1, 7, 7, 64])
        #expect(sizes([64, 2]) == [64, 2, 128, 64])
        #expect(sizes([5, 13, 2]) == [65, 2, 130, 128])
        #expect(sizes([0, 4]) == [0, 4, 0, 0])
        #expect(sizes([4, 0]) == [4, 0, 0, 64])
    }

    /// A product that computes on a rounded number of rows reads them, so what an earlier tensor left must be gone.
    @Test(arguments: [DType.f32, .bf16]) func roomBehindRowsIsZero(dtype: DType) {
        let pool = BufferPool()
        do {
            let earlier = Tensor([64, 9], dtype, pool: pool)
            earlier.copy(from: [Float](repeating: .nan, count: 64 * 9))
        }
        let tensor = Tensor([37, 9], dtype, pool: pool)
        withExtendedLifetime(tensor) {
            let behind = UnsafeRawBufferPointer(
                start: tensor.address + 37 * tensor.rowByteCount, count: 27 * tensor.rowByteCount)
            #expect(behind.allSatisfy { $0 == 0 })
        }
    }

    @Test func blocksAreAlignedAndDoNotOverlap() {
        let pool = BufferPool()
        let tensors = (1..<40).map { Tensor([$0 * 37], pool: pool) }
        for (index, tensor) in tensors.enumerated() {
            #expect(UInt(bitPattern: tensor.address) % UInt(BufferPool.alignment) == 0)
            tensor.copy(from: [Float](repeating: Float(index), count: tensor.count))
        }
        for (index, tensor) in tensors.enumerated() {
            #expect(tensor.toArray().allSatisfy { $0 == Float(index) })
        }
    }
}
